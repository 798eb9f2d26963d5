"""Dagger's official schema, out of the pinned Go module, and a server that speaks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from graphql import GraphQLSchema
from schema_server import SchemaServer, load_schema, serve
from schema_source import read_schema


@pytest.fixture(scope="session")
def schema() -> GraphQLSchema:
    """The schema of the lowest version that works."""
    return load_schema(read_schema())


@pytest.fixture
def server(schema: GraphQLSchema, monkeypatch: pytest.MonkeyPatch) -> Iterator[SchemaServer]:
    """An engine that runs nothing; whatever the SDK connects to during the test."""
    with serve(schema) as state:
        monkeypatch.setenv("DAGGER_SESSION_PORT", str(state.port))
        monkeypatch.setenv("DAGGER_SESSION_TOKEN", "no-secret")
        yield state
        assert state.mistakes == []
