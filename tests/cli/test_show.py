"""What people see of a run: live lines, a summary, and nothing that a sandbox could do to their terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from claude_flow_dagger.cli.options import Output
from claude_flow_dagger.cli.printable import printable
from claude_flow_dagger.cli.show import make_view
from claude_flow_dagger.events import Event, EventType
from claude_flow_dagger.job import AgentJob
from claude_flow_dagger.result import (
    Answer,
    Ending,
    FileChange,
    Ledger,
    LedgerEntry,
    MemoryItem,
    Proof,
    Refusal,
    Result,
    Verdict,
)

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ENTRY = LedgerEntry(seq=1, at=NOW, method="POST", path="/v1/messages", status=403, refusal=Refusal.BUDGET_USD)
RESULT = Result(
    run_id="r",
    verdict=Verdict.FAILED,
    exit_code=1,
    reason="proof_failed",
    message="the verify command exited 1",
    retryable=False,
    job=AgentJob(objective="x"),
    started_at=NOW,
    duration_s=1.5,
    answer=Answer(is_error=False, text="Done\x1b]0;owned\x07."),
    ledger=Ledger(requests=1, tokens=12, cost_usd=Decimal("0.01")),
    changes=(
        FileChange(path="a.js", status="modified", additions=1),
        FileChange(path="b", status="added", binary=True),
    ),
    patch="diff --git a/a.js b/a.js\n+\u202eevil\n",
    memory=(MemoryItem(key="k", namespace="n", value="v"),),
    proof=Proof(command="false", exit_code=1, ending=Ending.EXITED, output="not ok"),
)


def test_what_could_steer_a_terminal_is_shown_and_not_obeyed() -> None:
    assert printable("a\x1b[31m\u202eb\x00\r\n\tc\u2066é") == "a\\x1b[31m\\x202eb\\x00\n\tc\\x2066é"


def test_events_and_summary_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    view = make_view(Output.TEXT)
    with view:
        view.progress("installing")
        view.progress("installing", 1, 2)
        for event in (
            Event(type=EventType.STARTED, t=0, text="r"),
            Event(type=EventType.STEP, t=0, step="main"),
            Event(type=EventType.TEXT, t=0, text="Hi\x1b[2J"),
            Event(type=EventType.TOOL, t=0, tool="Bash", input={"command": "ls\nrm"}),
            Event(type=EventType.TOOL, t=0, tool="Odd", input={"x": 1}),
            Event(type=EventType.TOOL_RESULT, t=0, text="boom", is_error=True),
            Event(type=EventType.TOOL_RESULT, t=0, text="fine", is_error=False),
            Event(type=EventType.REQUEST, t=0, entry=ENTRY, cost_usd="0.5"),
            Event(type=EventType.NOTICE, t=0, text="look"),
            Event(type=EventType.PROGRESS, t=0, text="copying"),
            Event(type=EventType.OUTPUT, t=0, text="banner"),
        ):
            view.event(event)
    view.result(RESULT)
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "    · installing",
        " step main",
        "agent Hi\\x1b[2J",
        " tool Bash ls…",
        " tool Odd 1",
        " tool error: boom",
        "model 403 budget_usd",
        " note look",
        "    · copying",
    ]
    assert [line.rstrip() for line in captured.out.splitlines()] == [
        "failed: the verify command exited 1",
        "answer: Done\\x1b]0;owned\\x07.",
        "memory: n/k = v",
        "not ok",
        "1.5 s · 1 request · 12 tokens · 0.0100 USD",
        "modified  a.js  +1 -0",
        "added     b     binary",
        "diff --git a/a.js b/a.js",
        "+\u202eevil",
    ]


def test_a_command_s_answer_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    bare = RESULT.model_copy(update={"answer": None, "memory": (), "proof": None, "changes": (), "patch": None})
    view = make_view(Output.TEXT)
    view.result(bare.model_copy(update={"output": {"a": [1]}, "ledger": Ledger(), "scripted": True}))
    assert json.loads("".join(capsys.readouterr().out.splitlines()[2:])) == {"a": [1]}
    view.result(bare.model_copy(update={"output": "text\x1b\n", "ledger": Ledger(requests=2, cost_usd=None)}))
    assert capsys.readouterr().out.splitlines()[1:] == ["1.5 s · 2 requests · 0 tokens · cost unknown", "text\\x1b"]


def test_json_is_one_object_and_progress_goes_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    view = make_view(Output.JSON)
    with view:
        view.progress("installing")
        view.progress("installing", 1, 2)
        view.event(Event(type=EventType.TEXT, t=0, text="Hi"))
    view.result(RESULT)
    captured = capsys.readouterr()
    assert Result.model_validate(json.loads(captured.out)) == RESULT
    assert captured.err == "installing\n"


def test_ndjson_is_a_line_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    view = make_view(Output.NDJSON)
    view.event(Event(type=EventType.TEXT, t=0.5, text="Hi"))
    view.result(RESULT)
    assert json.loads(capsys.readouterr().out) == {"type": "text", "t": 0.5, "text": "Hi", "subagent": False}
