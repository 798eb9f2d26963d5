"""The sums over what the gateway saw."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from claude_flow_dagger.gateway import ledger as module
from claude_flow_dagger.gateway.ledger import LedgerBook
from claude_flow_dagger.result import LedgerEntry, Refusal


def entry(seq: int = 1, **more: Any) -> LedgerEntry:
    base: dict[str, Any] = {"at": datetime.now(UTC), "method": "POST", "path": "/v1/messages", "cost_usd": Decimal(0)}
    return LedgerEntry(seq=seq, **{**base, **more})


def test_the_last_word_is_the_models() -> None:
    book = LedgerBook()
    assert book.summary().last_status is None
    book.add(entry(status=529, error="overloaded_error"))
    book.add(entry(status=403, refusal=Refusal.BUDGET_USD))
    book.add(entry(status=None, cut=True))
    book.add(entry(status=200, path="/v1/messages/count_tokens"))
    summary = book.summary()
    assert (summary.last_status, summary.last_error) == (529, "overloaded_error")
    assert (summary.requests, summary.refused, summary.errors) == (0, 1, 1)
    book.add(entry(status=None, error="connect_error"))
    assert (book.summary().last_status, book.summary().last_error) == (0, "connect_error")
    book.add(entry(status=200, model="a", input_tokens=1, cost_usd=Decimal("0.1")))
    book.add(entry(status=200, model="b", cache_write_1h_tokens=2, cost_usd=Decimal("0.2")))
    book.add(entry(status=200, model="a"))
    summary = book.summary()
    assert (summary.last_status, summary.last_error) == (200, None)
    assert summary.models == ("a", "b")
    assert (summary.requests, summary.tokens, summary.cost_usd) == (3, 3, Decimal("0.3"))


def test_one_unknown_price_makes_the_sum_unknown() -> None:
    book = LedgerBook()
    book.add(entry(status=200, input_tokens=1, cost_usd=Decimal("0.1")))
    book.add(entry(status=429, cost_usd=None))
    assert book.summary().cost_usd == Decimal("0.1")
    book.add(entry(status=200, input_tokens=1, cost_usd=None))
    book.add(entry(status=200, input_tokens=1, cost_usd=Decimal("0.1")))
    assert book.summary().cost_usd is None


def test_a_flood_of_refused_requests_is_counted_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    seen: list[LedgerEntry] = []
    book = LedgerBook(path, seen.append)
    for number in range(module.MAX_REFUSED_LINES + 50):
        book.add(entry(number, status=403, refusal=Refusal.BAD_TOKEN))
    book.add(entry(status=200))
    book.close()
    book.close()
    assert book.summary().refused == module.MAX_REFUSED_LINES + 50
    assert len(path.read_text().splitlines()) == len(seen) == module.MAX_REFUSED_LINES + 1


def test_lines_are_appended(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    for number in (1, 2):
        book = LedgerBook(path)
        book.add(entry(number, status=200))
        book.close()
    assert [LedgerEntry.model_validate_json(line).seq for line in path.read_text().splitlines()] == [1, 2]


def test_a_full_disk_is_remembered() -> None:
    book = LedgerBook(Path("/dev/full"))
    book.add(entry(status=200))
    book.add(entry(status=200))
    assert book.failure is not None
    assert "No space left" in book.failure.message
    assert book.summary().requests == 2
