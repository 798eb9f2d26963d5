"""What happens during a run, as people and pipelines watch it. Not evidence: much of it comes out of the sandbox."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from claude_flow_dagger.result import LedgerEntry, Record, Result


class EventType(StrEnum):
    """The kinds of events; `--output ndjson` prints one object a line, the last one is `result`."""

    STARTED = "started"
    PROGRESS = "progress"
    """Setting up: installing, copying, comparing."""
    NOTICE = "notice"
    STEP = "step"
    TEXT = "text"
    """The agent speaks."""
    TOOL = "tool"
    """The agent uses a tool."""
    TOOL_RESULT = "tool_result"
    OUTPUT = "output"
    """A line that a process wrote and that is nothing of the above."""
    REQUEST = "request"
    """A request to the model has settled; `entry` is its ledger line and `cost_usd` the run's sum so far."""
    RESULT = "result"


class Event(Record):
    """One event. Texts are masked before anybody sees them."""

    type: EventType
    t: float
    """Seconds since the run began."""
    text: str = ""
    step: str | None = None
    tool: str | None = None
    input: dict[str, Any] | None = None
    is_error: bool | None = None
    done: float | None = None
    total: float | None = None
    entry: LedgerEntry | None = None
    cost_usd: str | None = None
    subagent: bool = False
    result: Result | None = None
