"""One request to the model, from the gate to its line in the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from claude_flow_dagger.gateway.budget import NOTHING, Amount, Gate, Granted, Need, Refused
from claude_flow_dagger.gateway.policy import Asked, need_of, tokens_only
from claude_flow_dagger.gateway.prices import price
from claude_flow_dagger.gateway.upstreams import Request, Response, Upstream, UpstreamFailed
from claude_flow_dagger.gateway.usage import JsonReader, Reader, Usage, reader_for, reserved_usage
from claude_flow_dagger.gateway.wire import Endpoint, No, error_body, header_map
from claude_flow_dagger.result import LedgerEntry, Refusal

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass
class Record:
    """What becomes the ledger's line, filled in as the request goes."""

    seq: int
    method: str
    path: str
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    began: float = field(default_factory=time.monotonic)
    model: str | None = None
    stream: bool = False
    status: int | None = None
    refusal: Refusal | None = None
    error: str | None = None
    cut: bool = False
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = Decimal(0)
    estimated: bool = False
    first_byte: float | None = None
    answering: bool = False
    """Whether the sandbox has been sent a status already."""
    last_words: list[MutableMapping[str, Any]] = field(default_factory=list)
    """What is still to be sent. It waits for the ledger, so that whoever has seen an answer's end finds it settled."""

    def entry(self) -> LedgerEntry:
        """The line."""
        return LedgerEntry(
            seq=self.seq,
            at=self.at,
            method=self.method[:20],
            path=self.path[:200],
            model=self.model,
            stream=self.stream,
            status=self.status,
            refusal=self.refusal,
            error=self.error,
            cut=self.cut,
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            cache_read_tokens=self.usage.cache_read_tokens,
            cache_write_tokens=self.usage.cache_write_tokens,
            cache_write_1h_tokens=self.usage.cache_write_1h_tokens,
            cost_usd=self.cost,
            estimated=self.estimated,
            first_byte_ms=None if self.first_byte is None else round((self.first_byte - self.began) * 1000, 3),
            duration_ms=round((time.monotonic() - self.began) * 1000, 3),
        )


def answer_whole(record: Record, status: int, body: bytes) -> None:
    """Give a JSON answer of the gateway's own."""
    record.answering = True
    length = str(len(body)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", length)]
    record.last_words = [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": body, "more_body": False},
    ]


def refuse(record: Record, no: No) -> None:
    """Answer with a refusal and write it down."""
    record.refusal, record.status, record.error = no.refusal, no.status, no.kind
    answer_whole(record, no.status, no.body)


@dataclass(frozen=True)
class Exchange:
    """How requests are passed on: the upstream, and the gate before it."""

    upstream: Upstream
    gate: Gate

    async def run(self, request: Request, record: Record, send: Send) -> None:
        """Pass a request on and its answer back; whichever way this ends, cancelled too, it has settled."""
        if request.endpoint is Endpoint.COUNT_TOKENS:
            await self._count(request, record, send)
            return
        need = need_of(request.asked)
        if need is None and self.gate.account.budget.usd is not None:
            name = request.asked.model[:200]
            no = No(Refusal.NOT_ALLOWED, f"the model {name!r} has no known price, and this run has a budget in USD")
            refuse(record, no)
            return
        decision = await self.gate.enter(need or tokens_only(request.asked))
        if isinstance(decision, Refused):
            refuse(record, self.spent(decision.refusal))
            return
        await self._granted(decision, request, record, send)

    def spent(self, refusal: Refusal) -> No:
        """The refusal of a request for which nothing is left, saying what was spent and of what."""
        account = self.gate.account
        budget, spent = account.budget, account.spent
        usd = f"{spent.usd.normalize():f}"
        messages = {
            Refusal.BUDGET_USD: f"the run's budget of {budget.usd} USD is spent: {usd} USD were used",
            Refusal.BUDGET_TOKENS: f"the run's budget of {budget.tokens} tokens is spent: {spent.tokens} were used",
            Refusal.BUDGET_REQUESTS: f"the run's {budget.requests} requests are spent: {account.requests} were made",
            Refusal.DEADLINE: "the run's time is over",
        }
        return No(refusal, messages[refusal])

    async def _count(self, request: Request, record: Record, send: Send) -> None:
        refusal = self.gate.account.exhausted(time.monotonic())
        if refusal is not None:
            refuse(record, self.spent(refusal))
            return
        # Counting is free, and an answer to it has no usage: nothing to reserve, nothing to settle.
        try:
            async with self.upstream.send(request) as response:
                await _relay(response, reader_for(header_map(response.headers)), record, send)
        except UpstreamFailed as failure:
            _failed(failure, record)

    async def _granted(self, grant: Granted, request: Request, record: Record, send: Send) -> None:
        settlement = Settlement(grant, request.asked, record)
        try:
            try:
                async with self.upstream.send(request) as response:
                    settlement.began(response)
                    await _relay(response, settlement.reader, record, send)
            except UpstreamFailed as failure:
                settlement.failed(failure)
                _failed(failure, record)
        finally:
            if settlement.refused:
                self.gate.withdraw(grant.ticket)
            else:
                self.gate.settle(grant.ticket, settlement.amount())


class Settlement:
    """Finds out what a granted request has used."""

    def __init__(self, grant: Granted, asked: Asked, record: Record) -> None:
        self._need: Final[Need] = grant.ticket.need
        self._reserved = grant.reserved
        self._asked = asked
        self._record = record
        self._response: Response | None = None
        self._unbilled = False
        self.reader: Reader = reader_for({})

    @property
    def refused(self) -> bool:
        """Whether the upstream itself said no: nothing was used, not even a request."""
        return self._response is not None and self._response.refusal is not None

    def began(self, response: Response) -> None:
        """The upstream has answered; its body is still to come."""
        self._response = response
        self._record.refusal = response.refusal
        self.reader = reader_for(header_map(response.headers))

    def failed(self, failure: UpstreamFailed) -> None:
        """The upstream gave no answer, or broke it off."""
        self._unbilled = self._response is None and not failure.billed

    def amount(self) -> Amount:
        """What was used; written into the record too."""
        record, response, reader = self._record, self._response, self.reader
        record.error = record.error or reader.error
        if self._unbilled or (response is not None and not 200 <= response.status < 300):
            return NOTHING
        if response is not None and reader.complete and reader.usage is not None:
            record.usage = reader.usage
        else:
            record.estimated = True
            record.usage = reserved_usage(
                reader.usage, input_tokens=self._asked.input_estimate, output_tokens=self._reserved_output()
            )
        record.cost = price(self._asked.model, record.usage, fast=self._asked.fast)
        return Amount(usd=record.cost or Decimal(0), tokens=record.usage.tokens)

    def _reserved_output(self) -> int:
        """The tokens of output in the reservation: all that was asked for, or as many as there was room for."""
        most = self._asked.max_tokens
        tokens = self._reserved.tokens - self._need.floor.tokens
        for_output = self._need.full.usd - self._need.floor.usd
        if for_output > 0:
            share = (self._reserved.usd - self._need.floor.usd) / for_output
            tokens = min(tokens, int(share * most))
        return max(0, min(most, tokens))


async def _relay(response: Response, reader: Reader, record: Record, send: Send) -> None:
    """Pass an answer back, chunk for chunk."""
    record.status = response.status
    record.answering = True
    await send({"type": "http.response.start", "status": response.status, "headers": list(response.headers)})
    held = b""
    async for chunk in response.chunks:
        if record.first_byte is None:
            record.first_byte = time.monotonic()
        reader.feed(chunk)
        now = chunk
        if isinstance(reader, JsonReader):
            # An answer in one piece has no use before its last byte, so that one can wait for the ledger.
            held, now = chunk, held
        await send({"type": "http.response.body", "body": now, "more_body": True})
    reader.end()
    record.error = reader.error
    record.cut = record.stream and response.status < 300 and reader.cut_short
    record.last_words = [{"type": "http.response.body", "body": held, "more_body": False}]


def _failed(failure: UpstreamFailed, record: Record) -> None:
    record.error = failure.kind
    if record.answering:
        # The answer has begun: leaving it without an end makes the server cut the connection, as the upstream did.
        record.cut = True
        return
    answer_whole(record, 502, error_body("api_error", f"claude-flow-dagger: {failure.message}"))


async def wait_for_first(work: asyncio.Task[None], watch: asyncio.Task[None], timeout: float | None) -> bool:
    """Wait until the work is done, the client has gone or the time is over; then neither is running any more.

    Returns:
        Whether the work came to its own end.
    """
    try:
        await asyncio.wait({work, watch}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finished = work.done()
    finally:
        for task in (work, watch):
            task.cancel()
        await asyncio.gather(work, watch, return_exceptions=True)
    if not work.cancelled() and work.exception() is not None:
        raise work.exception()  # type: ignore[misc]  # it is not None
    return finished
