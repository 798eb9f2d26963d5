"""The gateway over real sockets: what passes, what doesn't, and what it writes down."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import httpx2
import pytest
from gateway_support import (
    KEY,
    MODEL,
    Seen,
    answers,
    client_of,
    gateway,
    head,
    model,
    request,
    send_chunks,
    sse,
    streams,
    until,
    upstream_to,
)

from claude_flow_dagger.errors import GatewayError, OutOfSpace
from claude_flow_dagger.gateway import wire
from claude_flow_dagger.gateway.budget import Budget
from claude_flow_dagger.gateway.server import Gateway, TcpAddress, serve
from claude_flow_dagger.gateway.wire import RunToken
from claude_flow_dagger.result import LedgerEntry, Refusal


def error_of(response: httpx2.Response) -> tuple[int, str, str]:
    data = response.json()
    assert data["type"] == "error"
    return response.status_code, data["error"]["type"], data["error"]["message"]


def test_a_stream_passes_byte_for_byte_and_chunk_for_chunk() -> None:
    whole = b"".join(sse("é" * 500))
    dice = random.Random(7)
    cuts = sorted(dice.sample(range(1, len(whole)), 60))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    taken: asyncio.Queue[None] = asyncio.Queue()

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "text/event-stream", "transfer-encoding: chunked"))
        for piece in pieces:
            # The next piece leaves only when the client has the one before: a gateway that buffers would hang here.
            await send_chunks(writer, [piece], end=False)
            await taken.get()
        writer.write(b"0\r\n\r\n")

    async def body() -> None:
        async with model(answer) as there, gateway(upstream_to(there.port)) as bench:
            got = []
            headers = {"x-api-key": bench.token}
            async with bench.client.stream("POST", "/v1/messages", json=request(), headers=headers) as response:
                assert response.headers["content-type"] == "text/event-stream"
                async for chunk in response.aiter_raw():
                    got.append(chunk)
                    taken.put_nowait(None)
            assert got == pieces
            entry = bench.entries[0]
            assert (entry.input_tokens, entry.output_tokens, entry.status, entry.cut) == (100, 20, 200, False)
            assert entry.cost_usd == Decimal("0.0004")
            assert entry.first_byte_ms is not None
            assert 0 < entry.first_byte_ms <= entry.duration_ms

    asyncio.run(asyncio.wait_for(body(), 30))


def test_the_key_goes_up_and_the_token_does_not() -> None:
    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port)) as bench:
            sent = json.dumps(request(stream=True)).encode()
            headers = {
                "authorization": f"Bearer {bench.token}",
                "anthropic-beta": "one,oauth-2025-04-20",
                "cookie": "a=b",
                "x-forwarded-for": "1.2.3.4",
                "accept-encoding": "gzip, br",
                "anthropic-version": "2023-06-01",
                "x-stainless-lang": "js",
            }
            await bench.post(sent, "/v1/messages?beta=true", headers=headers)
            seen = there.seen[0]
            assert seen.line == "POST /v1/messages?beta=true HTTP/1.1"
            assert seen.body == sent
            assert seen.headers["x-api-key"] == KEY
            assert seen.headers["anthropic-beta"] == "one"
            assert seen.headers["accept-encoding"] == "identity"
            assert seen.headers["host"] == f"127.0.0.1:{there.port}"
            assert seen.headers["x-stainless-lang"] == "js"
            assert not {"authorization", "cookie", "x-forwarded-for"} & seen.headers.keys()
            assert bench.token not in repr(seen)

    asyncio.run(body())


def test_answers_in_one_piece_and_counts() -> None:
    usage = b'{"type":"message","usage":{"input_tokens":7,"output_tokens":3}}'

    async def answer(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await answers(200, b'{"input_tokens":5}' if "count" in seen.line else usage)(seen, writer)

    async def body() -> None:
        async with model(answer) as there, gateway(upstream_to(there.port)) as bench:
            response = await bench.post(request(stream=False))
            assert response.content == usage
            assert response.headers["content-length"] == str(len(usage))
            counted = await bench.post({"model": MODEL, "messages": []}, "/v1/messages/count_tokens?beta=true")
            assert counted.json() == {"input_tokens": 5}
            assert there.seen[1].line.startswith("POST /v1/messages/count_tokens?beta=true ")
            hello = await bench.client.head("/api/hello", headers={"x-api-key": bench.token})
            assert hello.status_code == 200
            ledger = bench.gateway.ledger()
            assert (ledger.requests, ledger.tokens, ledger.refused, ledger.errors) == (1, 10, 0, 0)
            assert len(bench.entries) == 3
            assert len(there.seen) == 2

    asyncio.run(body())


ODD = [
    ("GET", "/v1/messages"),
    ("GET", "/"),
    ("POST", "/v1/messages/"),
    ("POST", "//v1/messages"),
    ("POST", "/v1//messages"),
    ("POST", "/v1/%6dessages"),
    ("POST", "/v1/messages%2fcount_tokens"),
    ("POST", "/x/../v1/messages"),
    ("POST", "/v1/messages/batches"),
    ("POST", "/v1/messages?beta=true&x=1"),
    ("POST", "/v1/messages?url=http://evil"),
    ("POST", "/v1/messages;a"),
    ("POST", "/V1/messages"),
    ("POST", "/v1/files"),
    ("POST", "/api/hello"),
    ("GET", "/api/hello"),
    ("GET", "/v1/models"),
    ("DELETE", "/v1/messages"),
    ("OPTIONS", "/v1/messages"),
    ("POST", "http://evil.example/v1/messages"),
    ("CONNECT", "evil.example:443"),
]


@pytest.mark.parametrize(("method", "target"), ODD)
def test_everything_else_is_refused(method: str, target: str) -> None:
    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port)) as bench:
            assert isinstance(bench.gateway.address, TcpAddress)
            # By hand: a client library would tidy the address up.
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.gateway.address.port)
            payload = json.dumps(request()).encode()
            lines = [f"{method} {target} HTTP/1.1", "host: x", f"x-api-key: {bench.token}", "connection: close"]
            lines.append(f"content-length: {len(payload)}")
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + payload)
            raw = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            assert raw.startswith(b"HTTP/1.1 403 ")
            assert b'"permission_error"' in raw
            assert there.seen == []
            entries = await bench.settled(1)
            assert entries[0].refusal is Refusal.NOT_ALLOWED

    asyncio.run(body())


def test_wrong_tokens() -> None:
    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port)) as bench:
            wrong = [
                {},
                {"x-api-key": ""},
                {"x-api-key": bench.token[:-1]},
                {"x-api-key": bench.token + "x"},
                {"x-api-key": bench.token.swapcase()},
                {"authorization": bench.token},
                {"authorization": f"Basic {bench.token}"},
                {"authorization": "Bearer"},
                {"cookie": f"x-api-key={bench.token}"},
            ]
            for headers in wrong:
                response = await bench.client.post("/v1/messages", json=request(), headers=headers)
                assert error_of(response)[:2] == (403, "permission_error")
            assert there.seen == []
            assert bench.gateway.ledger().refusals == {Refusal.BAD_TOKEN: len(wrong)}
            right = {"authorization": f"bearer {bench.token}"}
            assert (await bench.client.post("/v1/messages", json=request(), headers=right)).status_code == 200

    asyncio.run(body())


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "invalid_request_error"), (401, "authentication_error"), (429, "rate_limit_error")]
)
def test_errors_of_the_model_pass_with_their_headers(status: int, kind: str) -> None:
    text = json.dumps({"type": "error", "error": {"type": kind, "message": "no"}}).encode()
    more = ["retry-after: 17", "request-id: req_1", "anthropic-ratelimit-requests-remaining: 0"]
    hop = ["connection: keep-alive, x-hop", "x-hop: 1", "keep-alive: timeout=5", "set-cookie: a=b"]

    async def body() -> None:
        async with model(answers(status, text, *more, *hop)) as there, gateway(upstream_to(there.port)) as bench:
            response = await bench.post()
            assert (response.status_code, response.content) == (status, text)
            for line in more:
                name, _, value = line.partition(": ")
                assert response.headers[name] == value
            assert not {"x-hop", "keep-alive", "set-cookie"} & set(response.headers)
            entry = bench.entries[0]
            assert (entry.status, entry.error, entry.tokens, entry.refusal) == (status, kind, 0, None)
            ledger = bench.gateway.ledger()
            assert (ledger.errors, ledger.last_status, ledger.last_error) == (1, status, kind)

    asyncio.run(body())


def test_no_answer_is_a_502() -> None:
    async def body() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with gateway(upstream_to(unused.getsockname()[1])) as bench:
                status, kind, message = error_of(await bench.post())
                assert (status, kind) == (502, "api_error")
                assert "connect_error" in message
                counted = await bench.post(request(), "/v1/messages/count_tokens")
                assert counted.status_code == 502
        entry = bench.entries[0]
        assert (entry.status, entry.error, entry.tokens, entry.cut) == (None, "connect_error", 0, False)
        ledger = bench.gateway.ledger()
        assert (ledger.errors, ledger.last_status, ledger.requests) == (1, 0, 0)

    asyncio.run(body())


def test_a_stream_that_the_model_cuts_is_cut_and_settles_at_its_reservation() -> None:
    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "text/event-stream", "transfer-encoding: chunked"))
        await send_chunks(writer, sse()[:3], end=False)
        writer.close()

    async def body() -> None:
        async with model(answer) as there, gateway(upstream_to(there.port)) as bench:
            with pytest.raises(httpx2.RemoteProtocolError):
                await bench.post()
            entry = (await bench.settled(1))[0]
            assert (entry.input_tokens, entry.output_tokens) == (100, 1000)
            assert (entry.cut, entry.estimated, entry.status) == (True, True, 200)
            assert entry.cost_usd == Decimal("0.0102")

    asyncio.run(body())


def test_a_stream_without_its_end_is_cut_too() -> None:
    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "text/event-stream", "transfer-encoding: chunked"))
        await send_chunks(writer, sse()[:3])

    async def body() -> None:
        async with model(answer) as there, gateway(upstream_to(there.port)) as bench:
            assert (await bench.post()).content == b"".join(sse()[:3])
            entry = bench.entries[0]
            assert (entry.cut, entry.estimated, entry.output_tokens) == (True, True, 1000)

    asyncio.run(body())


def never_ending(after: asyncio.Event) -> object:
    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "text/event-stream", "transfer-encoding: chunked"))
        await send_chunks(writer, sse()[:3], end=False)
        after.set()
        while not writer.is_closing():
            await send_chunks(writer, [b": ping\n\n"], end=False)
            await asyncio.sleep(0.01)

    return answer


def test_a_client_that_leaves_ends_the_exchange() -> None:
    async def body() -> None:
        started = asyncio.Event()
        async with model(never_ending(started)) as there, gateway(upstream_to(there.port)) as bench:  # type: ignore[arg-type]
            posting = asyncio.ensure_future(bench.post())
            await started.wait()
            await until(lambda: bench.gateway.in_flight == 1)
            posting.cancel()
            entry = (await bench.settled(1))[0]
            await until(lambda: there.open_now == 0)
            assert (entry.cut, entry.estimated) == (True, True)
            assert (entry.input_tokens, entry.output_tokens) == (100, 1000)
            assert bench.gateway.in_flight == 0

    asyncio.run(body())


def test_the_deadline_cuts_streams_and_refuses_the_rest() -> None:
    async def body() -> None:
        started = asyncio.Event()
        budget = Budget(deadline=time.monotonic() + 0.5)
        async with model(never_ending(started)) as there, gateway(upstream_to(there.port), budget) as bench:  # type: ignore[arg-type]
            began = time.monotonic()
            with pytest.raises(httpx2.RemoteProtocolError):
                await bench.post()
            assert time.monotonic() - began < 5
            assert error_of(await bench.post())[0] == 403
            counted = await bench.post(request(), "/v1/messages/count_tokens")
            assert error_of(counted)[0] == 403
            await bench.settled(3)
            assert [entry.refusal for entry in bench.entries] == [Refusal.DEADLINE] * 3
            assert (bench.entries[0].cut, bench.entries[0].output_tokens) == (True, 1000)
            assert len(there.seen) == 1

    asyncio.run(body())


def test_the_deadline_answers_a_model_that_keeps_silent() -> None:
    async def silent(_seen: Seen, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def body() -> None:
        budget = Budget(deadline=time.monotonic() + 0.3)
        async with model(silent) as there, gateway(upstream_to(there.port), budget) as bench:
            assert error_of(await bench.post())[:2] == (403, "permission_error")
            entry = bench.entries[0]
            assert (entry.refusal, entry.estimated, entry.output_tokens) == (Refusal.DEADLINE, True, 1000)

    asyncio.run(body())


@pytest.mark.parametrize(
    ("budget", "refusal", "said"),
    [
        (Budget(usd=Decimal("0.0004")), Refusal.BUDGET_USD, "0.0004 USD is spent: 0.0004 USD"),
        (Budget(tokens=120), Refusal.BUDGET_TOKENS, "120 tokens is spent: 120"),
        (Budget(requests=1), Refusal.BUDGET_REQUESTS, "1 requests are spent: 1"),
    ],
)
def test_a_spent_budget_is_refused_with_figures(budget: Budget, refusal: Refusal, said: str) -> None:
    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port), budget) as bench:
            assert (await bench.post()).status_code == 200
            status, kind, message = error_of(await bench.post())
            assert (status, kind) == (403, "permission_error")
            assert said in message
            assert bench.entries[1].refusal is refusal
            assert len(there.seen) == 1

    asyncio.run(body())


def test_a_model_without_a_price() -> None:
    async def body() -> None:
        async with model() as there:
            async with gateway(upstream_to(there.port)) as bench:
                assert (await bench.post(request(model="glm-5"))).status_code == 200
                assert bench.entries[0].cost_usd is None
                assert bench.gateway.ledger().cost_usd is None
                await bench.post()
                assert bench.gateway.ledger().cost_usd is None
            async with gateway(upstream_to(there.port), Budget(usd=Decimal(5))) as bench:
                status, _, message = error_of(await bench.post(request(model="glm-5")))
                assert status == 403
                assert "no known price" in message

    asyncio.run(body())


def test_two_hundred_streams_at_once() -> None:
    async def body() -> None:
        everyone = asyncio.Event()

        async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
            writer.write(head(200, "text/event-stream", "transfer-encoding: chunked"))
            first, *rest = sse()
            await send_chunks(writer, [first], end=False)
            if there.most_open == 200:
                everyone.set()
            await everyone.wait()
            await send_chunks(writer, rest)

        async with model(answer) as there, gateway(upstream_to(there.port)) as bench:
            responses = await asyncio.gather(*(bench.post() for _ in range(200)))
            assert {response.content for response in responses} == {b"".join(sse())}
            ledger = bench.gateway.ledger()
            assert (ledger.requests, ledger.tokens, ledger.cost_usd) == (200, 24_000, Decimal("0.08"))
            assert sorted(entry.seq for entry in bench.entries) == list(range(1, 201))

    asyncio.run(asyncio.wait_for(body(), 60))


@pytest.mark.parametrize("seed", [1, 2])
def test_budget_races_with_cut_streams_leave_no_drift(seed: int) -> None:
    """200 requests at once, some cut by either side: the sum never passes the limit by more than one."""
    dice = random.Random(seed)

    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "text/event-stream", "transfer-encoding: chunked"))
        events = sse(tokens_out=dice.randint(1, 1000))
        if dice.random() < 0.3:
            await send_chunks(writer, events[: dice.randint(0, 4)], end=False)
            writer.close()
        else:
            await asyncio.sleep(dice.random() / 100)
            await send_chunks(writer, events)

    async def body() -> None:
        limit = 60_000
        async with model(answer) as there, gateway(upstream_to(there.port), Budget(tokens=limit)) as bench:
            tasks = [asyncio.ensure_future(bench.post()) for _ in range(200)]
            for task in dice.sample(tasks, 30):
                await asyncio.sleep(0.002)
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await until(lambda: bench.gateway.in_flight == 0)
            account = bench.gateway._gate.account
            await until(lambda: account.spent.tokens == sum(entry.tokens for entry in bench.entries))
            ledger = bench.gateway.ledger()
            assert ledger.tokens == account.spent.tokens
            assert account.reserved.tokens == 0
            assert account.waiting == 0
            assert limit // 2 < ledger.tokens <= limit + 1100
            assert account.requests == len(there.seen) or account.requests <= 200

    asyncio.run(asyncio.wait_for(body(), 60))


def test_requests_are_counted_exactly_under_a_rush() -> None:
    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port), Budget(requests=7)) as bench:
            responses = await asyncio.gather(*(bench.post() for _ in range(50)))
            assert sorted(response.status_code for response in responses) == [200] * 7 + [403] * 43
            assert len(there.seen) == 7

    asyncio.run(body())


def test_compressed_answers_pass_and_settle_at_their_reservation() -> None:
    async def answer(_seen: Seen, writer: asyncio.StreamWriter) -> None:
        text = b"\x1f\x8bnot really"
        writer.write(head(200, "application/json", "content-encoding: gzip", f"content-length: {len(text)}") + text)

    async def body() -> None:
        async with model(answer) as there, gateway(upstream_to(there.port)) as bench:
            headers = {"x-api-key": bench.token}
            async with bench.client.stream("POST", "/v1/messages", json=request(), headers=headers) as response:
                raw = b"".join([chunk async for chunk in response.aiter_raw()])
            assert raw == b"\x1f\x8bnot really"
            entry = (await bench.settled(1))[0]
            assert (entry.estimated, entry.output_tokens, entry.cut) == (True, 1000, False)

    asyncio.run(body())


def test_a_body_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_flow_dagger.gateway.app.MAX_BODY", 1000)
    assert wire.MAX_BODY == 64 << 20

    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port)) as bench:
            status, kind, _ = error_of(await bench.post(request(system="x" * 2000)))
            assert (status, kind) == (403, "request_too_large")
            assert there.seen == []

    asyncio.run(body())


def test_a_client_that_leaves_in_the_middle_of_its_body() -> None:
    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port)) as bench:
            assert isinstance(bench.gateway.address, TcpAddress)
            _, writer = await asyncio.open_connection("127.0.0.1", bench.gateway.address.port)
            writer.write(f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {bench.token}\r\n".encode())
            writer.write(b"content-length: 1000\r\n\r\n{")
            await writer.drain()
            writer.close()
            entry = (await bench.settled(1))[0]
            assert (entry.cut, entry.status, entry.tokens) == (True, None, 0)
            assert there.seen == []
            assert bench.gateway.ledger().last_status is None

    asyncio.run(body())


def test_a_body_that_never_comes_is_refused_at_the_deadline() -> None:
    async def body() -> None:
        budget = Budget(deadline=time.monotonic() + 0.3)
        async with model() as there, gateway(upstream_to(there.port), budget) as bench:
            assert isinstance(bench.gateway.address, TcpAddress)
            reader, writer = await asyncio.open_connection("127.0.0.1", bench.gateway.address.port)
            writer.write(f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {bench.token}\r\n".encode())
            writer.write(b"content-length: 1000\r\n\r\n{")
            assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 403")
            writer.close()
            assert there.seen == []

    asyncio.run(body())


def test_malformed_http_does_no_harm() -> None:
    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port)) as bench:
            assert isinstance(bench.gateway.address, TcpAddress)
            for junk in (b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"POST /v1/messages HTTP/1.1\r\n" + b"a" * 100_000):
                reader, writer = await asyncio.open_connection("127.0.0.1", bench.gateway.address.port)
                writer.write(junk)
                raw = await asyncio.wait_for(reader.read(), 10)
                assert raw == b"" or raw.startswith(b"HTTP/1.1 400")
                writer.close()
            assert (await bench.post()).status_code == 200
            assert len(there.seen) == 1

    asyncio.run(body())


def test_a_unix_socket_is_private_and_goes_with_the_gateway(tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir(mode=0o700)
    path = directory / "g.sock"

    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port), listen=path) as bench:
            assert bench.gateway.address == path
            assert path.stat().st_mode & 0o777 == 0o600
            assert (await bench.post()).status_code == 200
        assert not path.exists()
        with pytest.raises(httpx2.ConnectError):
            async with client_of(path) as client:
                await client.get("/")

    asyncio.run(body())


def test_somebody_elses_socket_is_not_removed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    path = tmp_path / "g.sock"

    async def body() -> None:
        async with model() as there, gateway(upstream_to(there.port), listen=path):
            path.unlink()
            path.write_text("another's")
        assert path.read_text() == "another's"
        path.unlink()
        async with model() as there, gateway(upstream_to(there.port), listen=path):
            path.unlink()

    asyncio.run(body())


def open_once(listen: object, **more: object) -> None:
    async def body() -> None:
        async with gateway(upstream_to(1), listen=listen, **more):  # type: ignore[arg-type]
            pass

    asyncio.run(body())


def test_addresses_that_cannot_be_listened_on(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(GatewayError, match="too long") as caught:
        open_once(tmp_path / ("x" * 100))
    assert caught.value.cure
    with pytest.raises(GatewayError, match="No such file"):
        open_once(tmp_path / "missing" / "g.sock")
    (tmp_path / "taken").write_text("")
    with pytest.raises(GatewayError, match="Address already in use"):
        open_once(tmp_path / "taken")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    with pytest.raises(GatewayError, match="not private") as caught:
        open_once(shared / "g.sock")
    assert caught.value.cure == f"chmod 0700 {shared}"
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(GatewayError, match="not private"):
        open_once(link / "g.sock")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(GatewayError, match="Address already in use"):
            open_once(TcpAddress("127.0.0.1", taken.getsockname()[1]))
    with pytest.raises(GatewayError, match="ledger"):
        open_once(TcpAddress("127.0.0.1"), ledger_path=tmp_path / "missing" / "ledger.jsonl")


def test_addresses_as_urls() -> None:
    assert TcpAddress("127.0.0.1", 8080).url == "http://127.0.0.1:8080"
    assert TcpAddress("::1", 8080).url == "http://[::1]:8080"


async def drain(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass


def test_leaving_cuts_and_settles(tmp_path: Path) -> None:
    async def body() -> None:
        started = asyncio.Event()
        async with model(never_ending(started)) as there:  # type: ignore[arg-type]
            async with gateway(upstream_to(there.port), ledger_path=tmp_path / "ledger.jsonl") as bench:
                client = client_of(bench.gateway.address)
                headers = {"x-api-key": bench.token}
                posting = client.build_request("POST", "/v1/messages", json=request(), headers=headers)
                response = await client.send(posting, stream=True)
                chunks = response.aiter_raw()
                assert b"message_start" in await anext(chunks)
                began = time.monotonic()
            assert time.monotonic() - began < 2.5
            with pytest.raises(httpx2.RemoteProtocolError):
                await drain(chunks)
            await client.aclose()
            assert bench.gateway.in_flight == 0
            assert bench.gateway.ledger().output_tokens == 1000
        lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
        assert [LedgerEntry.model_validate_json(line) for line in lines] == bench.entries
        assert (tmp_path / "ledger.jsonl").stat().st_mode & 0o777 == 0o600

    asyncio.run(body())


def test_leaving_answers_those_that_the_model_keeps_waiting() -> None:
    async def silent(_seen: Seen, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def body() -> None:
        async with model(silent) as there:
            async with gateway(upstream_to(there.port)) as bench:
                client = client_of(bench.gateway.address)
                headers = {"x-api-key": bench.token}
                posting = asyncio.ensure_future(client.post("/v1/messages", json=request(), headers=headers))
                await until(lambda: len(there.seen) == 1)
            status, kind, message = error_of(await posting)
            assert (status, kind) == (403, "permission_error")
            assert "the run is over" in message
            await client.aclose()
            entry = bench.entries[0]
            assert (entry.refusal, entry.cut, entry.output_tokens) == (Refusal.CLOSED, True, 1000)

    asyncio.run(body())


def test_signals_stay_the_callers() -> None:
    import signal

    async def body() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        async with gateway(upstream_to(1)):
            assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    asyncio.run(body())


def test_tokens() -> None:
    token = RunToken.generate()
    assert len(token.value) == 43  # 256 bits in base64
    assert token.value not in repr(token)
    assert RunToken.generate() != token
    for weak in ("", "x" * 31, "x" * 40 + " ", "é" * 40, "x" * 40 + "\n"):
        with pytest.raises(ValueError, match="32 characters"):
            RunToken(weak)


def test_standing_alone(tmp_path: Path) -> None:
    async def body() -> None:
        async with model() as there:
            stop = asyncio.Event()
            ready: asyncio.Future[Gateway] = asyncio.get_running_loop().create_future()
            running = asyncio.ensure_future(
                serve(
                    upstream=upstream_to(there.port),
                    listen=TcpAddress("127.0.0.1"),
                    budget=Budget(),
                    stop=stop,
                    on_ready=ready.set_result,
                )
            )
            opened = await ready
            async with client_of(opened.address) as client:
                headers = {"x-api-key": opened.token.value}
                assert (await client.post("/v1/messages", json=request(), headers=headers)).status_code == 200
            stop.set()
            assert (await running).requests == 1

    asyncio.run(body())


def test_standing_alone_ends_at_its_deadline_and_tells_of_a_full_disk() -> None:
    async def body() -> None:
        budget = Budget(deadline=time.monotonic() + 0.4)

        async def use(opened: Gateway) -> None:
            async with client_of(opened.address) as client:
                await client.get("/")

        tasks = []
        with pytest.raises(OutOfSpace, match="/dev/full"):
            await serve(
                upstream=upstream_to(1),
                listen=TcpAddress("127.0.0.1"),
                budget=budget,
                stop=asyncio.Event(),
                on_ready=lambda opened: tasks.append(asyncio.ensure_future(use(opened))),
                ledger_path=Path("/dev/full"),
            )
        await asyncio.gather(*tasks)

    asyncio.run(body())


def test_pipelined_and_kept_alive_connections_get_a_line_each() -> None:
    async def body() -> None:
        async with model(streams) as there, gateway(upstream_to(there.port)) as bench:
            for _ in range(3):
                assert (await bench.post()).status_code == 200
            assert [entry.seq for entry in bench.entries] == [1, 2, 3]
            assert there.most_open == 1

    asyncio.run(body())
