"""The gateway's ASGI application: exactly three endpoints, everything else is refused and written down."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from claude_flow_dagger.gateway.exchange import (
    Exchange,
    Receive,
    Record,
    Scope,
    Send,
    answer_whole,
    refuse,
    wait_for_first,
)
from claude_flow_dagger.gateway.ledger import LedgerBook
from claude_flow_dagger.gateway.policy import read_request
from claude_flow_dagger.gateway.upstreams import Request
from claude_flow_dagger.gateway.wire import MAX_BODY, Endpoint, No, RunToken, endpoint_of
from claude_flow_dagger.result import Refusal

_OVER: Final = No(Refusal.CLOSED, "the run is over")


class GatewayApp:
    """The application. Every HTTP request gets one line in the ledger, whatever becomes of it.

    Args:
        exchange: where allowed requests go.
        token: what a sandbox must show.
        book: the ledger.
        models: the models that may be asked for; None allows all.
        ready: awaited before the first request to the model is priced.
    """

    def __init__(
        self,
        *,
        exchange: Exchange,
        token: RunToken,
        book: LedgerBook,
        models: frozenset[str] | None,
        ready: Callable[[], Awaitable[None]],
    ) -> None:
        self._exchange: Final = exchange
        self._token: Final = token
        self._book: Final = book
        self._models: Final = models
        self._ready = ready
        self._seq = itertools.count(1)
        self._active: set[asyncio.Task[Any]] = set()
        self._closing = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        record = Record(
            seq=next(self._seq),
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
        )
        task = asyncio.current_task()
        assert task is not None, "an ASGI server runs every request in a task"  # noqa: S101
        self._active.add(task)
        try:
            await self._one(scope, receive, send, record)
        except asyncio.CancelledError:
            if not self._closing:
                raise
            # Cut by `close`: an answer that has begun gets no end, and the server closes its connection.
            if not record.answering:
                refuse(record, _OVER)
        finally:
            self._active.discard(task)
            self._book.add(record.entry())
        for message in record.last_words:
            await send(message)

    async def close(self) -> None:
        """Refuse what comes, cut what runs, and wait until it has settled."""
        self._closing = True
        running = list(self._active)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _one(self, scope: Scope, receive: Receive, send: Send, record: Record) -> None:
        deadline = self._exchange.gate.account.budget.deadline
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        endpoint = self._admit(scope)
        if isinstance(endpoint, No):
            refuse(record, endpoint)
            return
        body = await self._body(receive, left)
        if body is None:
            record.cut = True
            return
        if isinstance(body, No):
            refuse(record, body)
            return
        work = asyncio.ensure_future(self._allowed(endpoint, scope, body, send, record))
        watch = asyncio.ensure_future(_until_gone(receive))
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            finished = await wait_for_first(work, watch, left)
        except asyncio.CancelledError:
            record.cut = True
            raise
        if not finished:
            record.cut = True
            if deadline is not None and time.monotonic() >= deadline:
                over = self._exchange.spent(Refusal.DEADLINE)
                record.refusal = over.refusal
                if not record.answering:
                    refuse(record, over)

    async def _body(self, receive: Receive, left: float | None) -> bytes | No | None:
        """The request's body, why it is refused, or None when the client left in the middle of it."""
        body = bytearray()
        try:
            async with asyncio.timeout(left):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    body += message.get("body", b"")
                    if len(body) > MAX_BODY:
                        no = f"the request is longer than {MAX_BODY} bytes"
                        return No(Refusal.NOT_ALLOWED, no, kind="request_too_large")
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return self._exchange.spent(Refusal.DEADLINE)

    def _admit(self, scope: Scope) -> Endpoint | No:
        """What is asked for, or why it is refused before its body is read."""
        headers = tuple(scope["headers"])
        if not self._token.opens(headers):
            return No(Refusal.BAD_TOKEN, "this is not the run's token")
        if self._closing:
            return _OVER
        endpoint = endpoint_of(scope["method"], scope["raw_path"], scope["query_string"])
        if endpoint is None:
            line = f"{scope['method'][:20]} {scope['path'][:200]}"
            return No(Refusal.NOT_ALLOWED, f"{line} is not the Messages API, and nothing else passes here")
        return endpoint

    async def _allowed(self, endpoint: Endpoint, scope: Scope, body: bytes, send: Send, record: Record) -> None:
        if endpoint is Endpoint.HELLO:
            record.status = 200
            answer_whole(record, 200, b"")
            return
        asked = read_request(body, models=self._models, counting=endpoint is Endpoint.COUNT_TOKENS)
        if isinstance(asked, No):
            refuse(record, asked)
            return
        record.model, record.stream = asked.model, asked.stream
        await self._ready()
        request = Request(endpoint, scope["query_string"], tuple(scope["headers"]), body, asked)
        await self._exchange.run(request, record, send)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
