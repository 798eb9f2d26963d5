"""`exec` as a process: real claude-flow commands, judged by what they did and not by how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.conftest import Cli


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
def test_memory_outlives_the_process_that_stored_it(cli: Cli, tmp_path: Path) -> None:
    words = ("exec", "--state", tmp_path / "state", "--output", "json", "--", "memory")
    stored = cli(*words, "store", "-k", "greeting", "--value", "bonjour le monde")
    assert (stored.code, stored.json["verdict"]) == (0, "succeeded"), stored.out
    retrieved = cli(*words, "retrieve", "-k", "greeting")
    assert retrieved.code == 0, retrieved.out
    assert "bonjour le monde" in json.dumps(retrieved.json["output"])
    # Asked for as JSON, the answer is parsed data and no text with log lines around it.
    listed = cli(*words, "list", "--format", "json")
    assert listed.code == 0, listed.out
    assert not isinstance(listed.json["output"], str)
    assert "greeting" in json.dumps(listed.json["output"])
    found = cli(*words, "search", "-q", "bonjour", "--format", "json")
    assert found.code == 0, found.out
    assert "greeting" in json.dumps(found.json["output"])


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
def test_an_exit_status_that_lies(cli: Cli, tmp_path: Path) -> None:
    # claude-flow 3.43.0 says that there is no such agent, and exits 0.
    ran = cli("exec", "--state", tmp_path / "state", "--output", "json", "--", "agent", "status", "nobody")
    assert (ran.code, ran.json["verdict"], ran.json["reason"]) == (1, "failed", "command_failed"), ran.out


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
def test_init_changes_a_copy(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    ran = cli("exec", "--source", source, "--output", "json", "--", "init")
    assert (ran.code, ran.json["verdict"]) == (0, "succeeded"), ran.out[-1500:]
    assert {change["status"] for change in ran.json["changes"]} == {"added"}
    assert list(source.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "named", "cure"),
    [(("hocuspocus",), "'hocuspocus'", "memory"), (("memory", "hocus"), "'hocus'", "retrieve")],
)
def test_what_claude_flow_does_not_have_is_refused_before_anything_is_installed(
    cli: Cli, tmp_path: Path, words: tuple[str, ...], named: str, cure: str
) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    ran = cli("exec", "--output", "json", "--", *words, env={"XDG_CACHE_HOME": str(cache)})
    assert (ran.code, ran.json["error"]["code"]) == (2, "unknown_command")
    assert named in ran.json["error"]["message"]
    assert cure in ran.json["error"]["cure"]
    assert list(cache.iterdir()) == []
