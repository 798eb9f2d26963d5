"""What the gateway saw: a line for every request as it settles, and their sums."""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import GatewayError, OutOfSpace
from claude_flow_dagger.gateway.wire import Endpoint
from claude_flow_dagger.result import Ledger, LedgerEntry, Refusal

MAX_REFUSED_LINES: Final = 10_000
"""Refused requests that get a line; further ones are only counted, so that a sandbox cannot fill a disk."""
NO_CONNECTION: Final = 0
"""`Ledger.last_status` when the upstream gave no answer at all."""


class LedgerBook:
    """Collects entries. Sums are kept as they come, entries are not: a run may have any number of them.

    Args:
        path: the JSONL file to append to; made (0600) if missing.
        on_entry: called with every entry that gets a line.

    Raises:
        GatewayError: the file cannot be opened.
    """

    def __init__(self, path: Path | None = None, on_entry: Callable[[LedgerEntry], None] | None = None) -> None:
        self._on_entry = on_entry
        self._path = path
        self._file: int | None = None
        self.failure: OutOfSpace | None = None
        """Why lines are missing from the file, if so; the sums hold all the same."""
        self._sums: Counter[str] = Counter()
        self._refusals: Counter[Refusal] = Counter()
        self._models: dict[str, None] = {}
        self._cost: Decimal | None = Decimal(0)
        self._last: tuple[int | None, str | None] = (None, None)
        if path is not None:
            try:
                self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise GatewayError(
                    f"the ledger {path} cannot be written: {error.strerror}", cure="name another file"
                ) from error

    def add(self, entry: LedgerEntry) -> None:
        """Take in a request that has settled."""
        self._count(entry)
        if entry.refusal is not None and self._refusals.total() > MAX_REFUSED_LINES:
            return
        self._write(entry)
        if self._on_entry is not None:
            self._on_entry(entry)

    def summary(self) -> Ledger:
        """The sums so far."""
        sums = self._sums
        return Ledger(
            requests=sums["requests"],
            refused=self._refusals.total(),
            errors=sums["errors"],
            input_tokens=sums["input_tokens"],
            output_tokens=sums["output_tokens"],
            cache_read_tokens=sums["cache_read_tokens"],
            cache_write_tokens=sums["cache_write_tokens"],
            cache_write_1h_tokens=sums["cache_write_1h_tokens"],
            tokens=sums["tokens"],
            cost_usd=self._cost,
            refusals=dict(self._refusals),
            models=tuple(self._models),
            last_status=self._last[0],
            last_error=self._last[1],
        )

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _count(self, entry: LedgerEntry) -> None:
        if entry.refusal is not None:
            self._refusals[entry.refusal] += 1
        for kind in (
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cache_write_tokens",
            "cache_write_1h_tokens",
        ):
            self._sums[kind] += getattr(entry, kind)
        self._sums["tokens"] += entry.tokens
        if entry.tokens and (self._cost is None or entry.cost_usd is None):
            self._cost = None
        elif self._cost is not None and entry.cost_usd is not None:
            self._cost += entry.cost_usd
        # Counting tokens is no work of the model's, and a refused request never came to it.
        if entry.path != Endpoint.MESSAGES.path or entry.refusal is not None:
            return
        if entry.model is not None:
            self._models.setdefault(entry.model)
        if entry.status is not None and 200 <= entry.status < 300:
            self._sums["requests"] += 1
        elif entry.status is not None or not entry.cut:
            self._sums["errors"] += 1
        if entry.status is not None:
            self._last = (entry.status, entry.error)
        elif not entry.cut:
            self._last = (NO_CONNECTION, entry.error)

    def _write(self, entry: LedgerEntry) -> None:
        if self._file is None:
            return
        line = entry.model_dump_json().encode() + b"\n"
        try:
            os.write(self._file, line)
        except OSError as error:
            # A request that has been paid for is answered all the same; whoever closes the gateway hears of it.
            code = error.errno or errno.EIO
            self.failure = OutOfSpace(
                f"the ledger {self._path} cannot be written: {os.strerror(code)}", cure="free some space"
            )
            self.close()
