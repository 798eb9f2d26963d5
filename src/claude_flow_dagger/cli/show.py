"""How a run is shown: live for people on standard error, JSON for programs on standard output."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.status import Status
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from claude_flow_dagger.cli.options import Output
from claude_flow_dagger.cli.printable import printable
from claude_flow_dagger.events import Event, EventType
from claude_flow_dagger.result import Result, Verdict


class View(ABC):
    """Whoever watches a run. Used as a context manager while it lasts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the display."""
        return

    @abstractmethod
    def event(self, event: Event) -> None:
        """Something happened."""

    @abstractmethod
    def progress(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Something long goes on, before the run has begun."""

    @abstractmethod
    def result(self, result: Result) -> None:
        """The run has ended."""


def make_view(output: Output) -> View:
    """The view that was asked for."""
    if output is Output.TEXT:
        return TextView()
    return JsonView(every_event=output is Output.NDJSON)


class JsonView(View):
    """One JSON object on standard output; with `every_event`, a line an event, the last one of type `result`.

    Progress of long set-up goes to standard error, one line each, so that a silent minute isn't taken for a hang.
    """

    def __init__(self, *, every_event: bool) -> None:
        self._every_event = every_event

    def event(self, event: Event) -> None:
        """Print it, when every event was asked for."""
        if self._every_event:
            _print_json(event.model_dump(mode="json", exclude_none=True))

    def progress(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """Tell of a new step; its numbers are for terminals."""
        if done is None and total is None:
            print(text, file=sys.stderr, flush=True)

    def result(self, result: Result) -> None:
        """Print it, unless it was the last event already."""
        if not self._every_event:
            _print_json(result.model_dump(mode="json"))


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, ensure_ascii=False), flush=True)


_COLOURS = {Verdict.SUCCEEDED: "green", Verdict.NO_WORK: "yellow", Verdict.CANCELLED: "yellow"}


class TextView(View):
    """Live lines on standard error, with a status line on terminals; summary and diff on standard output."""

    def __init__(self) -> None:
        self._err = Console(stderr=True, highlight=False, soft_wrap=True)
        self._out = Console(highlight=False, soft_wrap=True)
        self._status: Status | None = None
        self._line = ""
        self._last_progress = ""
        self._requests = 0

    def __enter__(self) -> Self:
        if self._err.is_terminal:
            self._status = self._err.status("starting")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take the status line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def progress(self, text: str, done: float | None = None, total: float | None = None) -> None:
        """A status line with a percentage on terminals, else one line for each new step."""
        share = f" {100 * done / total:.0f} %" if done is not None and total else ""
        if self._status is not None:
            self._status.update(Text(f"{text}{share}"))
        elif text != self._last_progress:
            self._write("·", text, "dim")
        self._last_progress = text

    def event(self, event: Event) -> None:
        """Show it, in as few words as will do."""
        match event.type:
            case EventType.TEXT:
                self._write("agent", event.text.strip(), "bold cyan")
            case EventType.TOOL:
                self._write("tool", f"{event.tool} {_brief(event.input)}", "magenta")
            case EventType.TOOL_RESULT if event.is_error:
                self._write("tool", f"error: {_first_line(event.text)}", "red")
            case EventType.REQUEST if event.entry is not None:
                self._requests += 1
                cost = f", {float(event.cost_usd):.4f} USD" if event.cost_usd is not None else ""
                self._set_line(f"{count(self._requests, 'request')}{cost}")
                if event.entry.refusal is not None or (event.entry.status or 0) >= 400:
                    said = event.entry.refusal or event.entry.error or "error"
                    self._write("model", f"{event.entry.status} {said}", "red")
            case EventType.STEP:
                self._set_line(event.step or "")
                self._write("step", event.step or "", "dim")
            case EventType.NOTICE:
                self._write("note", event.text, "yellow")
            case EventType.PROGRESS:
                self.progress(event.text, event.done, event.total)
            case _:
                pass

    def _set_line(self, text: str) -> None:
        self._line = text
        if self._status is not None:
            self._status.update(Text(f"working: {text}"))

    def _write(self, label: str, text: str, style: str) -> None:
        line = Text()
        line.append(f"{label:>5} ", style=style)
        line.append(printable(text))
        self._err.print(line)

    def result(self, result: Result) -> None:
        """The verdict, what changed, the diff."""
        self._summary(result)
        if result.changes:
            self._changes(result)
        if isinstance(result.output, str):
            self._out.print(Text(printable(result.output.rstrip())))
        elif result.output is not None:
            self._out.print(Text(printable(json.dumps(result.output, indent=2, ensure_ascii=False))))
        if result.patch:
            self._diff(result.patch)

    def _summary(self, result: Result) -> None:
        head = Text()
        head.append(result.verdict.value, style=f"bold {_COLOURS.get(result.verdict, 'red')}")
        head.append(f": {printable(result.message)}")
        self._out.print(head)
        if result.answer is not None and result.answer.text:
            self._out.print(Text(printable(f"answer: {result.answer.text.strip()}")))
        for item in result.memory:
            self._out.print(Text(printable(f"memory: {item.namespace}/{item.key} = {item.value}")))
        if result.proof is not None and not result.proof.passed:
            self._out.print(Text(printable(result.proof.output)))
        self._out.print(Text(_facts(result), style="dim"))

    def _changes(self, result: Result) -> None:
        table = Table(box=None, show_header=False, pad_edge=False)
        for change in result.changes:
            size = "binary" if change.binary else f"+{change.additions} -{change.deletions}"
            table.add_row(Text(change.status), Text(change.path), Text(size))
        self._out.print(table)

    def _diff(self, patch: str) -> None:
        if self._out.is_terminal and len(patch) < 100_000:
            self._out.print(Syntax(printable(patch), "diff", theme="ansi_dark", background_color="default"))
        else:
            self._out.file.write(patch)


def count(number: int, noun: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _facts(result: Result) -> str:
    ledger = result.ledger
    parts = [f"{result.duration_s:.1f} s"]
    if ledger.requests or ledger.refused:
        cost = f"{ledger.cost_usd:.4f} USD" if ledger.cost_usd is not None else "cost unknown"
        parts += [count(ledger.requests, "request"), f"{ledger.tokens} tokens", cost]
    if result.scripted:
        parts.append("the model was a script: nothing was asked of a real one, and nothing was paid")
    return " · ".join(parts)


def _brief(given: dict[str, Any] | None) -> str:
    """The part of a tool's input that tells most: a command, a path, else the first value."""
    given = given or {}
    named = next(
        (given[key] for key in ("command", "file_path", "path", "pattern", "key", "description") if key in given), None
    )
    value = named if named is not None else next(iter(given.values()), "")
    return _first_line(str(value))


def _first_line(text: str) -> str:
    line, *more = text.strip().splitlines() or [""]
    return f"{line[:160]}…" if more or len(line) > 160 else line
