"""A model's address to talk to (raw HTTP over a real socket), and a gateway before it."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from pydantic import SecretStr

from claude_flow_dagger.gateway.anthropic import AnthropicUpstream, ApiKey, Credential, UpstreamSettings
from claude_flow_dagger.gateway.budget import Budget
from claude_flow_dagger.gateway.server import Gateway, Listen, TcpAddress
from claude_flow_dagger.gateway.upstreams import Upstream
from claude_flow_dagger.gateway.wire import RunToken
from claude_flow_dagger.result import LedgerEntry

KEY = "sk-ant-api03-the-real-key-that-nobody-may-see"
MODEL = "claude-sonnet-5-5"


@dataclass
class Seen:
    """A request that reached the model."""

    line: str
    headers: dict[str, str]
    body: bytes


Answer = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Model:
    """The stand-in for the model."""

    port: int = 0
    seen: list[Seen] = field(default_factory=list)
    open_now: int = 0
    most_open: int = 0
    gone: int = 0


def event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()


def sse(text: str = "hello", tokens_in: int = 100, tokens_out: int = 20) -> list[bytes]:
    usage = {"input_tokens": tokens_in, "output_tokens": 1}
    return [
        event({"type": "message_start", "message": {"id": "m", "model": MODEL, "usage": usage}}),
        event({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}),
        event({"type": "content_block_stop", "index": 0}),
        event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": tokens_out}}),
        event({"type": "message_stop"}),
    ]


def head(status: int = 200, kind: str = "text/event-stream", *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status} Whatever", f"content-type: {kind}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def send_chunks(writer: asyncio.StreamWriter, chunks: list[bytes], *, end: bool = True) -> None:
    for chunk in chunks:
        writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        await writer.drain()
    if end:
        writer.write(b"0\r\n\r\n")
        await writer.drain()


async def streams(_seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(head(200, "text/event-stream", "transfer-encoding: chunked"))
    await send_chunks(writer, sse())


def answers(status: int, body: bytes, *more: str) -> Answer:
    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(status, "application/json", f"content-length: {len(body)}", *more) + body)
        await writer.drain()

    return answer


@asynccontextmanager
async def model(answer: Answer = streams, tls: ssl.SSLContext | None = None) -> AsyncIterator[Model]:
    """Serve `answer` on a free port of loopback."""
    state = Model()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.open_now += 1
        state.most_open = max(state.most_open, state.open_now)
        try:
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                line, *fields = raw.decode("latin-1").strip().split("\r\n")
                headers = dict(_field(item) for item in fields)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                seen = Seen(line, headers, body)
                state.seen.append(seen)
                await answer(seen, writer)
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            state.gone += 1
        finally:
            state.open_now -= 1
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.lower(), value.strip()


@dataclass
class Bench:
    """A gateway, a client of it, and what its ledger said."""

    gateway: Gateway
    client: httpx2.AsyncClient
    entries: list[LedgerEntry]
    token: str

    async def post(self, body: Any = None, path: str = "/v1/messages", **kwargs: Any) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(request() if body is None else body).encode()
        headers = {"x-api-key": self.token, "content-type": "application/json", **kwargs.pop("headers", {})}
        return await self.client.post(path, content=content, headers=headers, **kwargs)

    async def settled(self, count: int) -> list[LedgerEntry]:
        await until(lambda: len(self.entries) >= count)
        return self.entries


def request(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hello"}]
    return {"model": MODEL, "max_tokens": 1000, "stream": True, "messages": messages, **more}


def upstream_to(port: int, credential: Credential | None = None, **settings: Any) -> AnthropicUpstream:
    address = settings.pop("base_url", f"http://127.0.0.1:{port}")
    return AnthropicUpstream(UpstreamSettings(base_url=address, **settings), credential or ApiKey(SecretStr(KEY)))


@asynccontextmanager
async def gateway(
    upstream: Upstream,
    budget: Budget | None = None,
    *,
    listen: Listen | None = None,
    models: frozenset[str] | None = None,
    ledger_path: Path | None = None,
) -> AsyncIterator[Bench]:
    """A gateway before an upstream, and a client that talks to it."""
    token = RunToken.generate()
    entries: list[LedgerEntry] = []
    async with (
        upstream,
        Gateway.open(
            upstream=upstream,
            listen=listen or TcpAddress("127.0.0.1"),
            budget=budget or Budget(),
            token=token,
            models=models,
            ledger_path=ledger_path,
            on_entry=entries.append,
        ) as opened,
    ):
        async with client_of(opened.address) as client:
            yield Bench(opened, client, entries, token.value)


def client_of(address: Listen) -> httpx2.AsyncClient:
    limits = httpx2.Limits(max_connections=None)
    if isinstance(address, TcpAddress):
        return httpx2.AsyncClient(base_url=address.url, timeout=30, limits=limits, trust_env=False)
    transport = httpx2.AsyncHTTPTransport(uds=str(address), limits=limits)
    return httpx2.AsyncClient(base_url="http://gateway", timeout=30, transport=transport, trust_env=False)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition never came to hold"
        await asyncio.sleep(0.005)
