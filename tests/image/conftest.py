"""Images for the tests: built once a session from the base images that `scripts/make-base-images` makes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from image_support import docker, request_for

from claude_flow_dagger.image.build import Built, build
from claude_flow_dagger.image.engine import Engine, find_engine
from claude_flow_dagger.image.spec import Target


@pytest.fixture(scope="session")
def engine() -> Engine:
    return find_engine(os.environ)


def _built(engine: Engine, target: Target, **more: object) -> Built:
    return build(engine, request_for(target, **more), on_step=lambda _: None)


@pytest.fixture(scope="session")
def claude_flow(engine: Engine) -> str:
    return _built(engine, Target.CLAUDE_FLOW).reference


@pytest.fixture(scope="session")
def distroless(engine: Engine) -> str:
    return _built(engine, Target.DISTROLESS).reference


@pytest.fixture(scope="session")
def agent(engine: Engine) -> str:
    return _built(engine, Target.AGENT, with_claude=True).reference


@pytest.fixture(scope="session")
def bare_agent(engine: Engine) -> str:
    return _built(engine, Target.AGENT, tag="cfd-test/image:agent-bare").reference


@pytest.fixture(scope="session")
def cli(engine: Engine) -> str:
    return _built(engine, Target.CLI).reference


@pytest.fixture
def volume(engine: Engine) -> Iterator[str]:
    """A named volume that is gone afterwards."""
    name = docker(engine, "volume", "create").stdout.strip()
    yield name
    assert docker(engine, "volume", "rm", name).returncode == 0
