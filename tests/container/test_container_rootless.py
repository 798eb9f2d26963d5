"""Podman's service of a user like any other, asked by another: its files are not this user's, so the relay carries."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from claude_flow_dagger.image.engine import Engine, find_engine
from container.conftest import OWN, build_agent
from container.test_container_podman import READY_S, podman_argv
from e2e.conftest import Place
from e2e.test_greeter import test_a_proof_has_no_network_no_gateway_and_no_key, test_the_first_command
from image.image_support import docker
from kinds import ROOTLESS

pytestmark = [pytest.mark.docker, pytest.mark.rootless, pytest.mark.usefixtures("nothing_left")]

__all__ = ["test_a_proof_has_no_network_no_gateway_and_no_key", "test_the_first_command"]


@pytest.fixture(scope="module")
def rootless(agent: str) -> Iterator[str]:
    """The service's address, with the image in its store."""
    user = pwd.getpwnam(ROOTLESS)
    base = Path(tempfile.mkdtemp(prefix="cfdr-", dir="/tmp"))
    os.chown(base, user.pw_uid, user.pw_gid)
    become = ["setpriv", "--reuid", ROOTLESS, "--regid", str(user.pw_gid), "--init-groups"]
    env = {"HOME": user.pw_dir, "XDG_RUNTIME_DIR": str(base), "PATH": "/usr/sbin:/usr/bin:/bin"}
    argv = [*become, *podman_argv(base)]
    client = find_engine(os.environ)
    command = [client.executable, "save", agent]
    with subprocess.Popen(command, env=dict(client.environment), stdout=subprocess.PIPE) as out:
        load = [*argv, "load", "--quiet"]
        subprocess.run(load, env=env, cwd=base, stdin=out.stdout, stdout=subprocess.DEVNULL, check=True, timeout=300)
    with (base / "log").open("wb") as log:
        serve = [*argv, "system", "service", "--time", "0", f"unix://{base}/p.sock"]
        service = subprocess.Popen(serve, env=env, cwd=base, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + READY_S
    while not (base / "p.sock").exists():
        assert service.poll() is None, (base / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield f"unix://{base}/p.sock"
    os.killpg(service.pid, signal.SIGTERM)
    service.wait(30)
    reset = [*argv, "system", "reset", "--force"]
    subprocess.run(
        reset, env=env, cwd=base, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True, timeout=120
    )
    # Podman keeps one process to hold its namespaces; it is this user's, in this directory.
    if (pause := base / "libpod" / "tmp" / "pause.pid").exists():
        os.kill(int(pause.read_text()), signal.SIGKILL)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(autouse=True)
def _here(rootless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", rootless)


@pytest.fixture(scope="module")
def agent() -> str:
    return build_agent()


@pytest.fixture
def engine(rootless: str) -> Engine:
    return find_engine({**os.environ, "DOCKER_HOST": rootless}, named="docker", building=False)


@pytest.fixture
def place(agent: str, engine: Engine) -> Place:
    """What a user's control groups do not limit is said, and differs from machine to machine."""
    info = docker(engine, "info", "--format", "{{.MemoryLimit}} {{.PidsLimit}} {{.CPUCfsQuota}}").stdout.split()
    names = [name for has, name in zip(info, ("memory", "processes", "processors"), strict=True) if has == "false"]
    detail = f"the daemon cannot limit {', '.join(names)}" if names else ""
    isolation = {"runner": "container", "sandbox": "podman", "network_cut": True, "detail": detail}
    return Place(("--runner", "container", "--image", agent), isolation, OWN, frozenset({"NEW USER NAMESPACE"}))
