"""The scripted model as an upstream of the gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from claude_flow_dagger.gateway.script.conversation import View, view
from claude_flow_dagger.gateway.script.model import Conversation, Cut, Script, Turn
from claude_flow_dagger.gateway.script.wire import Reply, estimated_tokens
from claude_flow_dagger.gateway.upstreams import Request, Response, Upstream, UpstreamFailed
from claude_flow_dagger.gateway.wire import Endpoint, Headers, error_body
from claude_flow_dagger.result import Refusal

_JSON: Headers = ((b"content-type", b"application/json"),)
_EVENTS: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


@dataclass(frozen=True)
class NoTurn:
    """The script has no answer to a request."""

    why: str
    refusal: Refusal


class _Place:
    """How far a conversation has come."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self._turn = 0
        self._used = 0

    def next(self, seen: View, script: str) -> Turn | NoTurn:
        """The turn for a request, which is used up by it; none when none is left or its expectation fails."""
        name, turns = self.conversation.name, self.conversation.turns
        if self._turn >= len(turns):
            return NoTurn(
                f"the model script {script} has ended: conversation {name!r} has {_turns(len(turns))}, all used",
                Refusal.SCRIPT_ENDED,
            )
        turn = turns[self._turn]
        failing = None if turn.expect is None else seen.failing(turn.expect)
        if failing is not None:
            text = getattr(seen, failing, ", ".join(sorted(seen.tools)))
            return NoTurn(
                f"the model script {script}: turn {self._turn + 1} of conversation {name!r} expects another"
                f" `{failing}` than {text[-300:]!r}",
                Refusal.SCRIPT_MISMATCH,
            )
        self._used += 1
        if self._used >= turn.repeat:
            self._used = 0
            self._turn += 1
            if self.conversation.loop:
                self._turn %= len(turns)
        return turn


class ScriptUpstream(Upstream):
    """Plays a script. Every request takes the next turn of the first conversation that fits it.

    Args:
        script: what to play.
        name: what to call it in messages, such as its file's name.
    """

    scripted: ClassVar[bool] = True

    def __init__(self, script: Script, *, name: str) -> None:
        self._name = name
        self._places = [_Place(conversation) for conversation in script.all_conversations]
        self._replies = 0

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Response]:
        """Answer a request with the next turn."""
        if request.endpoint is Endpoint.COUNT_TOKENS:
            yield _whole(200, json.dumps({"input_tokens": estimated_tokens(len(request.body))}).encode())
            return
        seen = view(request.asked.data)
        turn = self._turn(seen)
        if isinstance(turn, NoTurn):
            body = error_body("permission_error", f"claude-flow-dagger: {turn.why}")
            yield _whole(403, body, refusal=turn.refusal)
            return
        self._replies += 1
        reply = Reply(turn, request.asked.model, self._replies, len(request.body))
        if turn.delay is not None:
            await asyncio.sleep(turn.delay)
        if turn.error is not None:
            retry = turn.error.retry_after
            headers = () if retry is None else ((b"retry-after", f"{retry:g}".encode()),)
            yield _whole(turn.error.status, error_body(turn.error.kind, turn.error.message), headers=headers)
        elif request.asked.stream:
            yield Response(200, _EVENTS, _cut(_paced(reply), turn.cut))
        else:
            body = json.dumps(reply.message(), ensure_ascii=False).encode()
            yield Response(200, _JSON, _cut(_once(body), _cut_of_whole(turn.cut, len(body))))

    def _turn(self, seen: View) -> Turn | NoTurn:
        for place in self._places:
            if seen.failing(place.conversation.when) is None:
                return place.next(seen, self._name)
        names = ", ".join(repr(place.conversation.name) for place in self._places)
        return NoTurn(
            f"the model script {self._name} has no conversation for this request ({names}): its first user message is"
            f" {seen.first_user[:300]!r}",
            Refusal.SCRIPT_MISMATCH,
        )


def _turns(count: int) -> str:
    return "1 turn" if count == 1 else f"{count} turns"


def _whole(status: int, body: bytes, *, headers: Headers = (), refusal: Refusal | None = None) -> Response:
    length = (b"content-length", str(len(body)).encode())
    return Response(status, (*_JSON, length, *headers), _once(body), refusal)


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _paced(reply: Reply) -> AsyncIterator[bytes]:
    delay = reply.turn.chunk_delay
    for index, event in enumerate(reply.events()):
        if index and delay is not None:
            await asyncio.sleep(delay)
        yield event


def _cut_of_whole(cut: Cut | None, length: int) -> Cut | None:
    """An answer in one piece has no events to count: it is cut in its middle."""
    return Cut(after_bytes=length // 2) if cut is not None and cut.after_events is not None else cut


async def _cut(chunks: AsyncIterator[bytes], cut: Cut | None) -> AsyncIterator[bytes]:
    events, size = 0, 0
    async for chunk in chunks:
        if cut is not None and cut.after_events is not None and events >= cut.after_events:
            break
        if cut is not None and cut.after_bytes is not None and size + len(chunk) > cut.after_bytes:
            yield chunk[: cut.after_bytes - size]
            break
        events, size = events + 1, size + len(chunk)
        yield chunk
    if cut is not None:
        raise UpstreamFailed("the script cuts its reply here", kind="cut_by_script", billed=True)
