"""The images themselves, looked at from outside: what runs in them, as whom, and what they say of themselves."""

from __future__ import annotations

import json
import time

import pytest
from image_support import config_of, docker, in_image

from claude_flow_dagger import __version__
from claude_flow_dagger.image.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


def answers_initialize(engine: Engine, image: str) -> None:
    out = in_image(engine, image, "mcp", "start", stdin=json.dumps(INITIALIZE) + "\n")
    answer = json.loads(out.splitlines()[0])
    assert answer["id"] == 1
    assert answer["result"]["serverInfo"]["name"]


def becomes_healthy(engine: Engine, image: str) -> None:
    """The image's own health check, run by the daemon, at a test's pace."""
    flags = ("--detach", "--rm", "--interactive", "--health-interval", "1s", "--network", "none")
    name = docker(engine, "run", *flags, image, "mcp", "start").stdout.strip()
    try:
        deadline = time.monotonic() + 60
        state = ""
        while state != "healthy" and time.monotonic() < deadline:
            state = docker(engine, "inspect", "--format", "{{.State.Health.Status}}", name).stdout.strip()
            time.sleep(0.2)
        assert state == "healthy"
    finally:
        docker(engine, "rm", "--force", name)


def setuid_files(engine: Engine, image: str) -> str:
    flags = ("run", "--rm", "--user", "0", "--entrypoint", "/bin/sh", image)
    return docker(engine, *flags, "-c", "find / -xdev -type f -perm /6000").stdout


def test_labels_user_and_signals(engine: Engine, claude_flow: str) -> None:
    config = config_of(engine, claude_flow)
    labels = config["Labels"]
    assert labels["dev.claude-flow-dagger.layout"] == "1"
    assert labels["dev.claude-flow-dagger.claude-flow"] == "3.43.0"
    assert labels["dev.claude-flow-dagger.node"] == "24.19.0"
    assert labels["org.opencontainers.image.version"] == __version__
    assert labels["org.opencontainers.image.licenses"] == "MIT"
    assert config["User"] == "1001:1001"
    assert config["WorkingDir"] == "/workspace"
    assert config["StopSignal"] == "SIGTERM"
    assert config["Entrypoint"][0] == "/opt/claude-flow-dagger/tini"
    assert not config.get("Volumes")


def test_the_runtime_lies_where_runners_look(engine: Engine, claude_flow: str) -> None:
    flags = ("--entrypoint", "/bin/sh")
    tools = "node/bin/node tini entrypoint.mjs claude-flow/node_modules/claude-flow/bin/cli.js"
    check = f"cd /opt/claude-flow-dagger && for f in {tools}; do test -f $f && ! test -L $f || echo $f; done"
    assert in_image(engine, claude_flow, "-c", check, flags=flags) == ""
    label = config_of(engine, claude_flow)["Labels"]["dev.claude-flow-dagger.node"]
    assert in_image(engine, claude_flow, "-c", "node --version", flags=flags).strip() == f"v{label}"


def test_nobody_but_root_can_change_the_runtime(engine: Engine, claude_flow: str) -> None:
    find = "find /opt/claude-flow-dagger ! -type l \\( ! -user 0 -o -perm /022 -o ! -perm -004 \\)"
    assert in_image(engine, claude_flow, "-c", find, flags=("--entrypoint", "/bin/sh")) == ""


@pytest.mark.parametrize("image", ["claude_flow", "agent", "cli"])
def test_no_setuid(engine: Engine, image: str, request: pytest.FixtureRequest) -> None:
    assert setuid_files(engine, request.getfixturevalue(image)) == ""


def test_runs_as_1001_with_a_read_only_root(engine: Engine, claude_flow: str) -> None:
    out = in_image(engine, claude_flow, "-c", "id -u; id -g; touch /opt/x 2>&1 || :", flags=("--entrypoint", "/bin/sh"))
    assert out.splitlines()[:2] == ["1001", "1001"]
    assert "Read-only file system" in out


def test_init_works_in_a_sealed_container(engine: Engine, claude_flow: str, volume: str) -> None:
    flags = ("--mount", f"type=volume,src={volume},dst=/workspace")
    in_image(engine, claude_flow, "init", flags=flags)
    shell = ("--entrypoint", "/bin/sh", *flags)
    assert in_image(engine, claude_flow, "-c", "ls -d .claude/helpers/statusline.cjs", flags=shell).strip()
    assert "rwx" in in_image(engine, claude_flow, "-c", "ls -ld /workspace", flags=shell)


def test_memory_outlives_the_container(engine: Engine, claude_flow: str, volume: str) -> None:
    flags = ("--mount", f"type=volume,src={volume},dst=/workspace")
    in_image(engine, claude_flow, "memory", "init", flags=flags)
    # A bare number would become one in claude-flow's parser, and not be stored: see docs/differences.md.
    in_image(engine, claude_flow, "memory", "store", "--key", "port", "--value", "port 8043", flags=flags)
    found = in_image(engine, claude_flow, "memory", "retrieve", "--key", "port", flags=flags)
    assert "port 8043" in found


def test_the_mcp_server_answers_and_the_health_check_passes(engine: Engine, claude_flow: str) -> None:
    answers_initialize(engine, claude_flow)
    becomes_healthy(engine, claude_flow)


def test_a_health_check_can_fail(engine: Engine, claude_flow: str) -> None:
    check = ("--entrypoint", "/opt/claude-flow-dagger/node/bin/node")
    script = "/opt/claude-flow-dagger/healthcheck.mjs"
    port = ("--env", "CLAUDE_FLOW_DAGGER_HEALTH_PORT=9")
    for flags, why in ((("--read-only",), "EROFS"), (port, "port 9")):
        done = docker(engine, "run", "--rm", "--network", "none", *check, *flags, claude_flow, script)
        assert done.returncode == 1, done.stdout
        assert why in done.stderr


def test_stopping_is_quick(engine: Engine, claude_flow: str) -> None:
    name = docker(
        engine, "run", "--detach", "--interactive", "--network", "none", claude_flow, "mcp", "start"
    ).stdout.strip()
    try:
        began = time.monotonic()
        assert docker(engine, "stop", "--time", "30", name).returncode == 0
        assert time.monotonic() - began < 15
    finally:
        docker(engine, "rm", "--force", name)


def test_distroless_has_no_shell_and_works(engine: Engine, distroless: str) -> None:
    for shell in ("/bin/sh", "/bin/bash", "/bin/busybox", "/usr/bin/dpkg"):
        done = docker(engine, "run", "--rm", "--entrypoint", shell, distroless)
        assert done.returncode == 127, f"{shell}: {done.stderr}"
    assert in_image(engine, distroless, "--version").strip() == "ruflo v3.43.0"
    answers_initialize(engine, distroless)
    becomes_healthy(engine, distroless)
    assert config_of(engine, distroless)["User"] == "1001:1001"


def test_an_agent_has_its_tools(engine: Engine, agent: str) -> None:
    flags = ("--entrypoint", "/bin/bash")
    out = in_image(
        engine, agent, "-c", "git --version; rg --version; claude --version; claude-flow --version", flags=flags
    )
    for tool in ("git version", "ripgrep", "2.1.330", "v3.43.0"):
        assert tool in out
    check = "test -f /opt/claude-flow-dagger/claude/claude && ! test -L /opt/claude-flow-dagger/claude/claude"
    in_image(engine, agent, "-c", check, flags=flags)
    assert config_of(engine, agent)["Labels"]["dev.claude-flow-dagger.claude-code"] == "2.1.330"


def test_an_agent_without_claude_code_says_how_to_add_it(engine: Engine, bare_agent: str) -> None:
    done = docker(engine, "run", "--rm", "--entrypoint", "/bin/bash", bare_agent, "-c", "claude --version")
    assert done.returncode == 127
    assert "claude-flow-dagger image build --target agent" in done.stderr
    assert not config_of(engine, bare_agent)["Labels"]["dev.claude-flow-dagger.claude-code"]
    listed = docker(
        engine, "run", "--rm", "--entrypoint", "/bin/ls", bare_agent, "/opt/claude-flow-dagger"
    ).stdout.split()
    assert "claude" not in listed


def test_the_cli_works_without_node(engine: Engine, cli: str) -> None:
    assert __version__ in in_image(engine, cli, "version")
    done = docker(engine, "run", "--rm", "--entrypoint", "/bin/sh", cli, "-c", "command -v node npm; id -u")
    assert done.stdout.split() == ["1001"]


def test_the_cli_says_what_it_lacks(engine: Engine, cli: str) -> None:
    done = docker(engine, "run", "--rm", "--network", "none", cli, "image", "build", "--output", "json")
    assert done.returncode == 75
    assert "neither docker nor podman" in json.loads(done.stdout)["error"]["message"]
