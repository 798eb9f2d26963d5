"""What can be wrong with a daemon or an image: one error with its cure, and nothing that was begun."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from claude_flow_dagger.image.engine import Engine
from e2e.conftest import GREETER, TIMEOUT_S, Cli, Place, command, contents, environment
from image.image_support import docker

WORDS = ("run", "x", "--strategy", "direct", "--source", GREETER, "--model-script", GREETER / "french.yaml")
Here = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def place() -> Place:
    """No options but those that each test gives."""
    return Place(("--runner", "container"), {})


@pytest.fixture
def refused(cli: Cli) -> Here:
    """Runs the greeter where something is wrong: the exit status and the error."""

    def run(*words: object, **env: str) -> tuple[int, dict[str, str]]:
        before = contents(GREETER)
        ran = cli(*WORDS, "--output", "json", *words, env=env)
        assert contents(GREETER) == before
        assert "Traceback" not in ran.err
        return ran.code, ran.json["error"]

    return run


def test_no_daemon(refused: Here, tmp_path: Path) -> None:
    address = f"unix://{tmp_path}/docker.sock"
    for image in ((), ("--image", "debian:12")):
        code, error = refused(*image, DOCKER_HOST=address)
        assert (code, error["code"]) == (75, "sandbox_error")
        assert address in error["message"]
        assert "DOCKER_HOST" in error["cure"]


def test_a_daemon_that_does_not_talk_http(refused: Here, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        server.settimeout(60)

        def serve() -> None:
            for _ in range(4):
                try:
                    one, _ = server.accept()
                except OSError:
                    return
                with one, suppress(OSError):  # a knock, which hears nothing
                    one.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        threading.Thread(target=serve, daemon=True).start()
        code, error = refused(DOCKER_HOST=f"unix://{tmp_path}/s")
    assert (code, error["code"]) == (75, "sandbox_error")
    assert "no daemon answers" in error["message"]


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="another user's socket needs root")
def test_a_socket_that_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        os.chown(path, 12345, 12345)
        path.chmod(0o600)
        words = command("run", "--runner", "container", *WORDS[1:])
        done = subprocess.run(
            ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *words],
            env=environment({"DOCKER_HOST": f"unix://{path}"}), capture_output=True, text=True, timeout=TIMEOUT_S,
            check=False,
        )  # fmt: skip
    assert done.returncode == 75
    assert f"{path}: permission denied" in done.stderr
    assert "usermod -aG docker" in done.stderr


def test_options_that_another_runner_would_ignore(cli: Cli) -> None:
    for option in ("--image", "--setup", "--runtime"):
        ran = cli(*WORDS, "--output", "json", "--runner", "local", option, "x")
        assert (ran.code, ran.json["error"]["code"]) == (2, "invalid_job")
        assert option in ran.json["error"]["message"]
        assert "--runner container" in ran.json["error"]["cure"]


@pytest.mark.docker
@pytest.mark.parametrize("image", ["UPPER", "--privileged", "a b", ""])
def test_names_that_are_none(refused: Here, image: str) -> None:
    code, error = refused(f"--image={image}")
    assert (code, error["code"]) == (2, "refused_input")


@pytest.mark.docker
def test_our_own_image_is_not_built_yet(refused: Here, engine: Engine) -> None:
    if docker(engine, "image", "inspect", "claude-flow-dagger:agent-2.7.47").returncode == 0:
        pytest.fail("remove claude-flow-dagger:agent-2.7.47 first: this test is about its absence")
    code, error = refused("--claude-flow", "2.7.47")
    assert (code, error["code"]) == (75, "sandbox_error")
    assert "claude-flow-dagger:agent-2.7.47" in error["message"]
    assert error["cure"] == "claude-flow-dagger image build --target agent --claude-flow 2.7.47"


@pytest.mark.docker
def test_another_version_than_the_jobs(refused: Here, agent: str) -> None:
    code, error = refused("--image", agent, "--claude-flow", "2.7.47")
    assert (code, error["code"]) == (2, "refused_input")
    assert "claude-flow 3.43.0" in error["message"]


@pytest.fixture
def registry(tmp_path: Path, engine: Engine) -> Iterator[Callable[[bool], str]]:
    """Starts Debian's registry on loopback, with or without a login; returns its address."""
    started: list[subprocess.Popen[bytes]] = []

    def start(login: bool) -> str:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        auth = ""
        if login:
            # "somebody" with the password "secret"; made by htpasswd -B.
            hashed = "$2y$05$WmTQK0Y4GV7jW0Q9r3nJOe7iY8bFZ2h1vXk9p5p2o0wU1mF8uG8mG"
            (tmp_path / "htpasswd").write_text(f"somebody:{hashed}\n")
            auth = f"auth: {{htpasswd: {{realm: test, path: {tmp_path}/htpasswd}}}}\n"
        config = tmp_path / "registry.yml"
        config.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}"
        )
        argv = ["docker-registry", "serve", str(config)]
        started.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                assert started[-1].poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return f"127.0.0.1:{port}"

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


@pytest.mark.docker
@pytest.mark.skipif(not shutil.which("docker-registry"), reason="docker-registry is not installed")
def test_images_that_a_registry_does_not_have_or_give(refused: Here, registry: Callable[[bool], str]) -> None:
    address = registry(False)
    code, error = refused("--image", f"{address}/nobodys/image:1")
    assert (code, error["code"]) == (2, "refused_input")
    assert f"image {address}/nobodys/image:1: there is no such image" in error["message"]

    address = registry(True)
    code, error = refused("--image", f"{address}/somebodys/image:1")
    assert (code, error["code"]) == (2, "refused_input")
    assert "the registry wants a login" in error["message"]
    assert f"docker login {address}" in error["cure"]


@pytest.mark.docker
def test_a_registry_that_is_not_there(refused: Here) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    code, error = refused("--image", f"127.0.0.1:{port}/some/image:1")
    assert (code, error["code"]) == (75, "sandbox_error")
    assert "could not be pulled" in error["message"]


@pytest.mark.docker
def test_a_runtime_that_the_daemon_does_not_have(refused: Here, agent: str) -> None:
    code, error = refused("--image", agent, "--runtime", "runsc-of-nobody")
    assert (code, error["code"]) == (2, "unsafe_run")
    assert "runsc-of-nobody" in error["message"]
    assert "runc" in error["cure"]


@pytest.mark.docker
def test_an_image_whose_entrypoint_is_gone(cli: Cli, engine: Engine, agent: str) -> None:
    dockerfile = f"FROM {agent}\nUSER 0\nRUN rm /opt/claude-flow-dagger/entrypoint.mjs\n"
    built = docker(engine, "build", "--tag", "cfd-test/image:no-entrypoint", "-", stdin=dockerfile)
    assert built.returncode == 0, built.stderr
    ran = cli(*WORDS, "--image", "cfd-test/image:no-entrypoint", "--output", "json")
    assert (ran.code, ran.json["verdict"]) == (75, "infrastructure_error")
    assert "the sandbox did not start" in ran.json["message"]
    assert "entrypoint.mjs" in ran.json["message"]
