"""The module as an engine calls it: by its own entry point, told by a server which function with which arguments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import GraphQLSchema

ROOT = Path(__file__).resolve().parents[2]
for _folder in ("tests/dagger", "module/src"):
    sys.path.insert(0, str(ROOT / _folder))

from module_calls import Calls  # noqa: E402
from schema_server import load_schema, serve  # noqa: E402
from schema_source import read_schema  # noqa: E402


@pytest.fixture(scope="session")
def schema() -> GraphQLSchema:
    """The schema of the lowest version that works."""
    return load_schema(read_schema())


@pytest.fixture
def calls(schema: GraphQLSchema, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """Calls of the module's functions."""
    with serve(schema) as server:
        monkeypatch.setenv("DAGGER_SESSION_PORT", str(server.port))
        monkeypatch.setenv("DAGGER_SESSION_TOKEN", "no-secret")
        yield Calls(server)
        assert server.mistakes == []
