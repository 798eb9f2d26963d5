"""A daemon that does not see this machine's files: the gateway's socket is carried to it, and the key stays here."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bench import Bench

from claude_flow_dagger.image.engine import Engine
from claude_flow_dagger.result import Ending
from claude_flow_dagger.runners.docker.client import find_address
from e2e.conftest import GREETER, Cli, Place, command, environment
from e2e.test_greeter import (
    test_a_proof_has_no_network_no_gateway_and_no_key,
    test_a_spent_budget,
    test_the_first_command,
)
from e2e.test_sandbox import test_the_key_is_nowhere_and_nothing_but_the_gateway_answers
from image.image_support import docker

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

__all__ = [
    "test_a_proof_has_no_network_no_gateway_and_no_key",
    "test_a_spent_budget",
    "test_the_first_command",
    "test_the_key_is_nowhere_and_nothing_but_the_gateway_answers",
]


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


def carry(one: socket.socket, near: str) -> None:
    with one, socket.socket(socket.AF_UNIX) as other:
        other.connect(near)
        back = threading.Thread(target=pump, args=(other, one), daemon=True)
        back.start()
        pump(one, other)
        back.join()


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The daemon behind a TCP port, as one of another machine is."""
    near = find_address(os.environ.get("DOCKER_HOST"), None, Path.home()).removeprefix("unix://")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    one, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=carry, args=(one, near), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("DOCKER_HOST", address)
        yield address
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def _far(request: pytest.FixtureRequest) -> None:
    if "near" not in request.keywords:
        request.getfixturevalue("far")


@pytest.fixture
def bench(agent: str, far: str) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="cfd-", ignore_cleanup_errors=True) as directory:
        base = Path(directory)
        (base / "workspace").mkdir()
        (base / "control").mkdir(mode=0o700)
        yield Bench(base, far, agent, f"test-{secrets.token_hex(6)}")


def test_without_a_gateway_the_lease_is_carried_too(bench: Bench, engine: Engine) -> None:
    assert bench.isolation().sandbox == "docker"
    (bench.workspace / "in").write_text("given\n")
    assert bench.run("cat in; echo made > out").ending is Ending.EXITED
    assert bench.said == ["given"]
    assert (bench.workspace / "out").read_text() == "made\n"


def test_a_large_answer_a_slow_reader_and_many_at_once(bench: Bench) -> None:
    """What the gateway says arrives whole, through one stream, however it is read."""
    path = bench.base / "gw.sock"
    size = 3_000_000
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(64)

        def answer(one: socket.socket) -> None:
            with one:
                data = b""
                while not data.endswith(b"\n"):
                    if not (more := one.recv(1 << 16)):
                        return  # a lease's knock
                    data += more
                one.sendall(data.strip() * (size // 4))

        def serve() -> None:
            while True:
                try:
                    one = server.accept()[0]
                except OSError:
                    return
                threading.Thread(target=answer, args=(one,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        script = f"""
const net = require('net');
const ask = (n) => new Promise((done) => {{
  const word = String(1000 + n); let got = 0, good = true;
  const s = net.connect(Number(process.argv[2]), '127.0.0.1', () => s.write(word + '\\n'));
  s.on('data', (d) => {{ for (let i = 0; i < d.length; i += 997)
      if (d[i] !== word.charCodeAt((got + i) % 4)) good = false;
    got += d.length;
    if (n % 3 === 0) {{ s.pause(); setTimeout(() => s.resume(), 5); }} }});
  s.on('end', () => done(good && got === {size})); s.on('error', () => done(false));
}});
Promise.all(Array.from({{length: 20}}, (_, n) => ask(n))).then((all) => console.log(all.filter(Boolean).length));
"""
        (bench.workspace / "ask.cjs").write_text(script)
        plan = {
            "gateway_socket": "/run/cfd/gateway.sock",
            "gateway_port": 0,
            "lease": True,
            "steps": [{"name": "main", "argv": ["sh", "-c", "/opt/claude-flow-dagger/node/bin/node ask.cjs $PORT"]}],
            "env": {"PORT": "{gateway_port}", "PATH": "/usr/bin:/bin"},
        }
        outcome = bench.run("", gateway=path, plan=plan)
        server.shutdown(socket.SHUT_RDWR)
    assert outcome.ending is Ending.EXITED, outcome.detail
    assert bench.said == ["20"]


def test_a_mount_is_refused(cli: Cli, tmp_path: Path) -> None:
    words = ("run", "x", "--strategy", "direct", "--model-script", GREETER / "french.yaml", "--mount", tmp_path)
    ran = cli(*words, "--output", "json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "refused_input")
    assert "does not see this machine's files" in ran.json["error"]["message"]


def test_a_kill_of_the_command_line_ends_it(bench: Bench, engine: Engine) -> None:
    process = bench.driver("echo ready; while :; do sleep 1; done")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert len(docker(engine, "ps", "--quiet", "--filter", f"name={bench.owner}").stdout.split()) == 2
    process.kill()
    killed = time.monotonic()
    process.communicate(timeout=20)
    while docker(engine, "ps", "--quiet", "--filter", f"name={bench.owner}").stdout.strip():
        assert time.monotonic() - killed < 6
        time.sleep(0.05)
    left = docker(engine, "ps", "--all", "--quiet", "--filter", f"name={bench.owner}").stdout.split()
    assert docker(engine, "rm", "--volumes", *left).returncode == 0
    volumes = docker(engine, "volume", "ls", "--quiet", "--filter", f"name={bench.owner}").stdout.split()
    assert len(volumes) == 3
    assert docker(engine, "volume", "rm", *volumes).returncode == 0


near = pytest.mark.near


@near
@pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root")
def test_a_daemon_in_a_virtual_machine_is_found_out(place: Place, greeter: Path) -> None:
    """As Docker Desktop: a socket here, and other files behind it. The command line's own TMPDIR is hidden from it."""
    with tempfile.TemporaryDirectory(prefix="cfd-") as hidden:
        words = ("--source", greeter, "--model-script", GREETER / "french.yaml", "--strategy", "direct", "-o", "json")
        mount = 'mount -t tmpfs none "$0" && exec "$@"'
        prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", mount, hidden)
        done = subprocess.run(
            [*prefix, *command("run", *place.options, "x", *words)], env=environment({"TMPDIR": hidden}),
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr
    assert json.loads(done.stdout)["verdict"] == "succeeded"
