"""What the processes of a sandbox said: frames in, events and Claude Code's answer out. Pure.

Claude Code writes `--output-format stream-json`: one JSON object a line. claude-flow mixes banners in (seen with
3.43.0), so a line counts as Claude Code's only when it parses as an object with a known `type`.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from claude_flow_dagger.result import Answer, Denial
from claude_flow_dagger.runners.frames import Exited, Frame, Line, Noise, StepEnded, StepStarted

TAIL_LINES: Final = 200
MAX_OUTPUT: Final = 32 << 20
MAX_LINE: Final = 8 << 20

T = TypeVar("T")


@dataclass(frozen=True)
class Said:
    """One thing that happened, before it is stamped with the time and masked."""

    kind: str
    text: str = ""
    step: str | None = None
    tool: str | None = None
    input: dict[str, Any] | None = None
    is_error: bool | None = None
    subagent: bool = False


@dataclass
class StepOutput:
    """What one step wrote and how it ended.

    Standard output is kept whole, since a command's answer is parsed from it, up to `MAX_OUTPUT` characters; `cut` says
    when there was more.
    """

    stdout: list[str] = field(default_factory=list)
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    size: int = 0
    cut: bool = False
    code: int | None = None

    def add(self, fd: int, text: str) -> None:
        """Keep one line."""
        self.tail.append(text[:10_000])
        if fd != 1:
            self.stderr.append(text[:10_000])
        elif self.size + len(text) <= MAX_OUTPUT:
            self.stdout.append(text)
            self.size += len(text) + 1
        else:
            self.cut = True

    def text(self) -> str:
        """Standard output."""
        return "".join(f"{line}\n" for line in self.stdout)


class Transcript:
    """Collects a sandbox's frames."""

    def __init__(self) -> None:
        self.steps: dict[str, StepOutput] = {}
        self.answer: Answer | None = None
        self.exit_code: int | None = None
        self._parts: dict[tuple[str, int], list[str]] = {}
        self._sizes: dict[tuple[str, int], int] = {}

    @property
    def failed_step(self) -> str | None:
        """The preparing step that ended the plan early, if one did."""
        if "main" in self.steps:
            return None
        return next((name for name, step in self.steps.items() if step.code not in (0, None)), None)

    def step(self, name: str) -> StepOutput:
        """What a step wrote; empty if it never ran."""
        return self.steps.get(name, StepOutput())

    def feed(self, frame: Frame) -> Iterator[Said]:
        """Take in one frame and tell what happened.

        Args:
            frame: in the order of arrival.
        """
        match frame:
            case StepStarted(step):
                self.steps.setdefault(step, StepOutput())
                yield Said("step", step=step)
            case Line(step, fd, text, part):
                whole = self._assemble(step, fd, text, part)
                if whole is not None:
                    yield from self._line(step, fd, whole)
            case StepEnded(step, code):
                self.steps.setdefault(step, StepOutput()).code = code
            case Exited(code):
                self.exit_code = code
            case Noise(text):
                yield Said("output", text)

    def _assemble(self, step: str, fd: int, text: str, part: bool) -> str | None:
        """Joins the parts of a long line; what is over `MAX_LINE` characters is dropped from its middle on."""
        key = (step, fd)
        parts = self._parts.setdefault(key, [])
        size = self._sizes.get(key, 0)
        parts.append(text[: max(0, MAX_LINE - size)])
        self._sizes[key] = size + len(text)
        if part:
            return None
        self._parts.pop(key)
        self._sizes.pop(key)
        return "".join(parts)

    def _line(self, step: str, fd: int, text: str) -> Iterator[Said]:
        record = _object(text) if fd == 1 and step == "main" else None
        said = list(self._record(record)) if record is not None else None
        if said is None:
            self.steps.setdefault(step, StepOutput()).add(fd, text)
            if text.strip():
                yield Said("output", text, step=step)
        else:
            yield from said

    def _record(self, record: Mapping[str, Any]) -> Iterator[Said]:
        kind = record["type"]
        if kind == "result":
            self.answer = read_answer(record)
        elif kind in ("assistant", "user"):
            subagent = record.get("parent_tool_use_id") is not None
            message = record.get("message")
            content = message.get("content") if isinstance(message, dict) else None
            for block in content if isinstance(content, list) else ():
                if isinstance(block, dict):
                    yield from _block(block, subagent)


_STREAM_TYPES: Final = frozenset({"system", "assistant", "user", "result", "stream_event", "rate_limit_event"})


def _object(text: str) -> Mapping[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("type") not in _STREAM_TYPES:
        return None
    return data


def _block(block: Mapping[str, Any], subagent: bool) -> Iterator[Said]:
    match block:
        case {"type": "text", "text": str(text)} if text.strip():
            yield Said("text", text, subagent=subagent)
        case {"type": "tool_use", "name": str(name)}:
            given = block.get("input")
            yield Said("tool", tool=name, input=given if isinstance(given, dict) else {}, subagent=subagent)
        case {"type": "tool_result"}:
            text = _result_text(block.get("content"))
            yield Said("tool_result", text, is_error=block.get("is_error") is True, subagent=subagent)


def _result_text(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(text for text in texts if isinstance(text, str))
    return ""


def read_answer(record: Mapping[str, Any]) -> Answer:
    """Claude Code's `result` event (fields as seen in 2.1.330). Anything malformed in it counts as an error.

    Args:
        record: the parsed line.
    """
    denials = record.get("permission_denials")
    text = record.get("result")
    return Answer(
        is_error=record.get("is_error") is not False,
        subtype=_typed(record, "subtype", str),
        text=text if isinstance(text, str) else None,
        api_error_status=_typed(record, "api_error_status", int),
        turns=_typed(record, "num_turns", int),
        session_id=_typed(record, "session_id", str),
        denials=tuple(_denial(item) for item in denials if isinstance(item, dict)) if isinstance(denials, list) else (),
        terminal_reason=_typed(record, "terminal_reason", str),
    )


def _denial(item: Mapping[str, Any]) -> Denial:
    given = item.get("tool_input")
    return Denial(tool=str(item.get("tool_name", "?")), input=given if isinstance(given, dict) else {})


def _typed(record: Mapping[str, Any], key: str, kind: type[T]) -> T | None:
    value = record.get(key)
    return value if isinstance(value, kind) else None
