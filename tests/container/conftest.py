"""The container runner: the image of the tests, and the local runner's tests once more with `--runner container`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator

import pytest

from claude_flow_dagger.image.build import build
from claude_flow_dagger.image.engine import Engine, find_engine
from claude_flow_dagger.image.spec import Target
from e2e.conftest import Place, cli, greeter, script
from e2e.test_kills import run
from e2e.test_sandbox import model
from image.image_support import docker, request_for
from kinds import required

# Debian's own directories; the tests look at what is in them.
OWN = frozenset({"/root", "/home/agent/../../root", "/var/lib", "/etc/shadow"})


@pytest.fixture(scope="session")
def engine() -> Engine:
    return find_engine(os.environ)


@pytest.fixture(scope="session")
def agent(engine: Engine) -> str:
    """An image with claude-flow and Claude Code; the tests of images build the same one."""
    return build_agent(engine)


def build_agent(engine: Engine | None = None) -> str:
    """Builds it with Docker, which other daemons take it from."""
    request = request_for(Target.AGENT, with_claude=True)
    return build(engine or find_engine(os.environ), request, on_step=lambda _: None).reference


@pytest.fixture(scope="session")
def place(agent: str) -> Place:
    isolation = {"runner": "container", "sandbox": "docker", "network_cut": True, "detail": ""}
    return Place(("--runner", "container", "--image", agent), isolation, OWN)


Left = Callable[[], set[str]]


def listed(engine: Engine) -> set[str]:
    """Every container, volume and network that the daemon has; where it may not be the tests' own, only ours."""
    everything = "docker" in required()
    commands = {
        "container": ("ps", "--all", "--no-trunc", "--format", "{{.Names}}"),
        "volume": ("volume", "ls", "--format", "{{.Name}}"),
        "network": ("network", "ls", "--format", "{{.Name}}"),
    }
    return {
        f"{kind} {name}"
        for kind, argv in commands.items()
        for name in docker(engine, *argv).stdout.split()
        if everything or name.startswith("cfd-")
    }


@pytest.fixture
def left(engine: Engine) -> Left:
    """What there is beyond what there was when the test began."""
    before = listed(engine)
    return lambda: listed(engine) - before


@pytest.fixture
def nothing_left(left: Left) -> Iterator[None]:
    """Fails a test that leaves a container, a volume or a network behind."""
    yield
    assert left() == set()


def inspected(engine: Engine, name: str) -> dict:
    done = docker(engine, "inspect", name)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0]


__all__ = ["cli", "greeter", "model", "run", "script"]
