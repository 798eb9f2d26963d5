"""Stamps, masks and hands on what happens during a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from claude_flow_dagger.events import Event, EventType
from claude_flow_dagger.masking import Masker
from claude_flow_dagger.result import LedgerEntry, Notice
from claude_flow_dagger.transcript import Said

MAX_EVENT_TEXT: Final = 16_000


class Reporter:
    """The one way from inside a run to whoever watches it.

    Args:
        masker: every text goes through it.
        on_event: whoever watches.
    """

    def __init__(self, masker: Masker, on_event: Callable[[Event], None]) -> None:
        self._masker = masker
        self._on_event = on_event
        self._began = time.monotonic()
        self._cost: Decimal | None = Decimal(0)
        self.notices: list[Notice] = []

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._began

    def emit(self, kind: EventType, text: str = "", **fields: Any) -> None:
        """One event; `fields` are those of `Event`."""
        cut = text if len(text) <= MAX_EVENT_TEXT else f"{text[:MAX_EVENT_TEXT]}… ({len(text)} characters)"
        self._on_event(Event(type=kind, t=round(self.elapsed, 3), text=self._masker.mask_text(cut), **fields))

    def notice(self, code: str, message: str) -> None:
        """Something worth knowing; it stands in the result too."""
        notice = Notice(code=code, message=self._masker.mask_text(message))
        if notice not in self.notices:
            self.notices.append(notice)
            self.emit(EventType.NOTICE, message)

    def said(self, said: Said) -> None:
        """Something that came out of the sandbox."""
        self.emit(
            EventType(said.kind),
            said.text,
            step=said.step,
            tool=said.tool,
            input=self._masker.mask_json(said.input) if said.input is not None else None,
            is_error=said.is_error,
            subagent=said.subagent,
        )

    def request(self, entry: LedgerEntry) -> None:
        """A request has settled."""
        if self._cost is not None:
            # A refused or failed request costs nothing; one that was answered without a price makes the sum unknown.
            answered = entry.status is not None and 200 <= entry.status < 300
            self._cost = None if entry.cost_usd is None and answered else self._cost + (entry.cost_usd or Decimal(0))
        cost = str(self._cost) if self._cost is not None else None
        self.emit(EventType.REQUEST, entry=entry, cost_usd=cost)
