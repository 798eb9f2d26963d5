"""`--image` and `--setup`: a user's own toolchain, with the runtime laid onto it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from claude_flow_dagger.image.engine import Engine
from e2e.conftest import Cli, Place
from image.image_support import docker

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left", "ours")]

OURS = "claude-flow-dagger:agent-3.43.0"
# A user's image: another user's directories, a program of theirs, things in our places, a set-user-id program.
DOCKERFILE = """FROM cfd-base/debian:bookworm-slim
RUN apt-get update -q && apt-get install -q -y --no-install-recommends git ca-certificates libstdc++6
RUN mkdir -p /workspace/theirs && printf '#!/bin/sh\\necho their tool, version 7\\n' > /usr/local/bin/their-tool \
    && chmod 755 /usr/local/bin/their-tool && cp /bin/true /usr/local/bin/suid && chmod 4755 /usr/local/bin/suid
ENV THEIRS=1 NODE_OPTIONS=--nonsense
ENTRYPOINT ["/bin/false"]
"""


@pytest.fixture
def place() -> Place:
    return Place(("--runner", "container"), {})


@pytest.fixture
def ours(engine: Engine, agent: str) -> Iterator[None]:
    """The image under the name that `image build` gives it; one that was there before comes back."""
    before = docker(engine, "image", "inspect", "--format", "{{.Id}}", OURS).stdout.strip()
    docker(engine, "tag", agent, OURS)
    yield
    docker(engine, "tag", before, OURS) if before else docker(engine, "rmi", OURS)


@pytest.fixture(scope="module")
def theirs(engine: Engine) -> Iterator[str]:
    """Another image in each session, so that nothing was laid onto it yet; gone with what was laid onto it."""
    text = f"{DOCKERFILE}LABEL session={secrets.token_hex(8)}\n"
    built = docker(engine, "build", "--tag", "cfd-test/theirs:1", "-", stdin=text, timeout=300)
    assert built.returncode == 0, built.stderr
    listing = ("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "claude-flow-dagger")
    before = set(docker(engine, *listing).stdout.split())
    yield "cfd-test/theirs:1"
    new = {name for name in docker(engine, *listing).stdout.split() if "layered-" in name} - before
    assert docker(engine, "image", "rm", "cfd-test/theirs:1", *new).returncode == 0


def turns(*commands: str) -> str:
    played = [f"{{tools: [{{name: Bash, input: {{command: {json.dumps(command)}}}}}]}}" for command in commands]
    return f"turns: [{', '.join(played)}, {{text: Done.}}]"


def test_the_users_own_tools(cli: Cli, script: Callable[[str], Path], theirs: str, engine: Engine) -> None:
    look = "their-tool; ls -A /workspace; env | grep -c -e THEIRS -e nonsense; stat -c %a /usr/local/bin/suid; id -u"
    words = ("run", "x", "--strategy", "direct", "--image", theirs, "--model-script", script(turns(look)))
    first = cli(*words, "--output", "ndjson")
    assert first.code == 0, first.out[-1500:] + first.err
    said = next(event["text"] for event in map(json.loads, first.out.splitlines()) if event["type"] == "tool_result")
    assert said.split("\n") == ["their tool, version 7", ".claude", ".swarm", "0", "755", "1001"]
    # Laid on once: a second run says nothing of building.
    assert "COPY" in first.err
    second = cli(*words, "--output", "json")
    assert second.json["verdict"] == "succeeded"
    assert "COPY" not in second.err


def test_setup_runs_once_with_network_and_without_the_gateway(
    cli: Cli, script: Callable[[str], Path], theirs: str, tmp_path: Path
) -> None:
    setup = (
        "id -u > /opt/who; env | grep -c sk-an[t] > /opt/keys; ls /run/cfd | wc -l >> /opt/keys; "
        "apt-get install -q -y --no-install-recommends jq; date +%s%N > /opt/when"
    )
    look = "cat /opt/who /opt/keys; jq -n 1+1; cat /opt/when"
    words = ("run", "x", "--strategy", "direct", "--image", theirs, "--setup", setup, "--output", "ndjson")
    said = []
    for _ in range(2):
        ran = cli(*words, "--model-script", script(turns(look)), env={"ANTHROPIC_API_KEY": "sk-ant-" + "k" * 40})
        assert ran.code == 0, ran.out[-1500:] + ran.err
        events = map(json.loads, ran.out.splitlines())
        said.append(next(event["text"] for event in events if event["type"] == "tool_result"))
    assert said[0].split("\n")[:4] == ["0", "0", "0", "2"]
    assert said[0] == said[1]


def test_a_setup_that_fails(cli: Cli, script: Callable[[str], Path]) -> None:
    words = ("run", "x", "--setup", "echo the reason >&2; exit 3", "--model-script", script(turns("true")))
    ran = cli(*words, "--output", "json")
    assert (ran.code, ran.json["error"]["code"]) == (75, "infrastructure_error")
    assert "the reason" in ran.json["error"]["message"]


def test_an_image_that_cannot_take_the_runtime(cli: Cli, script: Callable[[str], Path], engine: Engine) -> None:
    made = docker(engine, "build", "--tag", "cfd-test/image:empty", "-", stdin="FROM scratch\nLABEL a=b\n")
    assert made.returncode == 0, made.stderr
    words = ("run", "x", "--image", "cfd-test/image:empty", "--model-script", script(turns("true")))
    ran = cli(*words, "--output", "json")
    assert ran.code == 75
    assert "could not be built" in ran.json["error"]["message"]
