"""What the tests of images share: builds out of the stand-ins, and sealed containers."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from claude_flow_dagger import __version__
from claude_flow_dagger.image.engine import Engine
from claude_flow_dagger.image.spec import BuildRequest, Target, stand_ins

CA = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))


def request_for(target: Target, **more: object) -> BuildRequest:
    """A build out of the stand-ins, under a tag of the tests' own."""
    fields = {"tag": f"cfd-test/image:{target}", "bases": stand_ins(), "ca": CA if CA.is_file() else None}
    return BuildRequest(target=target, version=__version__, **{**fields, **more})


def docker(engine: Engine, *argv: str, stdin: str = "", timeout: int = 120) -> subprocess.CompletedProcess[str]:
    """One command of the client, its outcome unjudged."""
    command = [engine.executable, *argv]
    return subprocess.run(
        command, input=stdin, env=dict(engine.environment), capture_output=True, text=True, timeout=timeout, check=False
    )


def in_image(engine: Engine, image: str, *argv: str, flags: tuple[str, ...] = (), stdin: str = "") -> str:
    """Run a container as jobs are run, sealed and with a read-only root; returns standard output."""
    sealed = ("--rm", "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
    room = (
        "--tmpfs",
        "/tmp",
        "--tmpfs",
        "/home/agent:uid=1001,gid=1001,mode=0700",
        "--memory",
        "1g",
        "--pids-limit",
        "256",
    )
    where = () if any("/workspace" in flag for flag in flags) else ("--tmpfs", "/workspace:uid=1001,gid=1001")
    done = docker(engine, "run", "--interactive", *sealed, *room, *where, *flags, image, *argv, stdin=stdin)
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def config_of(engine: Engine, image: str) -> dict:
    done = docker(engine, "image", "inspect", image)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0]["Config"]
