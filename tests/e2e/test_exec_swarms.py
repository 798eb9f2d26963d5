"""`exec` for swarms, hives, sessions and tasks: the real claude-flow over several runs that share one state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Cli, Ran

pytestmark = [pytest.mark.real, pytest.mark.sandbox, pytest.mark.usefixtures("runtime")]


@pytest.fixture
def flow(cli: Cli, tmp_path: Path) -> Any:
    def run(*words: str) -> Ran:
        return cli("exec", "--state", tmp_path / "state", "--output", "json", "--", *words)

    return run


def test_a_hive_lives_on_in_the_state(flow: Any) -> None:
    made = flow("hive-mind", "init", "-t", "mesh", "--format", "json")
    assert (made.code, made.json["message"]) == (0, "verified"), made.out
    assert made.json["output"]["topology"] == "mesh"
    seen = flow("hive-mind", "status", "--format", "json")
    assert (seen.code, seen.json["output"]["topology"]) == (0, "mesh"), seen.out
    # `status` leaves out the last part of the id (seen in 3.43.0).
    assert made.json["output"]["hiveId"].startswith(seen.json["output"]["hiveId"])
    # State and not work: none of it is a change of the workspace.
    assert (made.json["changes"], made.json["patch"]) == ([], "")


def test_tasks_are_there_for_the_next_process(flow: Any) -> None:
    made = flow("task", "create", "-t", "testing", "-d", "look twice", "--format", "json")
    assert made.code == 0, made.out
    listed = flow("task", "list", "--format", "json")
    assert "look twice" in str(listed.json["output"]), listed.out
    # Unknown to claude-flow, which exits 0 for it.
    unknown = flow("task", "status", "task-that-is-none")
    assert (unknown.code, unknown.json["verdict"]) == (1, "failed"), unknown.out


def test_what_is_missing_is_a_failure_whatever_the_exit_status(flow: Any) -> None:
    for words in (("session", "delete", "none"), ("memory", "retrieve", "-k", "none"), ("agent", "stop", "none")):
        ran = flow(*words)
        assert (ran.code, ran.json["verdict"], ran.json["retryable"]) == (1, "failed", False), ran.out


def test_a_value_that_would_be_taken_for_something_else(flow: Any) -> None:
    value = "--help $(id) `id`\n\"two\" 'lines' ünï ✓"
    assert flow("memory", "store", "-k", "odd", f"--value={value}").json["message"] == "verified"
    kept = flow("memory", "retrieve", "-k", "odd", "--format", "json")
    assert kept.json["output"]["content"] == value


def test_refused_before_anything_starts(flow: Any) -> None:
    bad = flow("task", "create", "-t", "dancing", "-d", "x")
    assert (bad.code, bad.json["error"]["code"]) == (2, "refused_input")
    assert "dancing" in bad.json["error"]["message"]
    assert "bug-fix" in bad.json["error"]["cure"]
    keyless = flow("hive-mind", "spawn", "--claude", "-o", "x")
    assert (keyless.code, keyless.json["error"]["code"]) == (2, "missing_key")
