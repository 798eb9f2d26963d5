"""What the gateway adds to a streamed request's first byte, and whether it holds 200 streams at once.

    python benchmarks/gateway.py [--requests 300] [--body-kb 60] [--streams 200] [--json FILE]

A stand-in for the model answers at once with a short stream. Requests go to it directly and through the gateway, in
turns in one run, so that both meet the same machine. The model, the gateway and the client are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

USAGE = {"input_tokens": 1000, "output_tokens": 1}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def event(data: dict[str, Any]) -> bytes:
    raw = f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode()
    return f"{len(raw):x}\r\n".encode() + raw + b"\r\n"


FIRST = event({"type": "message_start", "message": {"usage": USAGE}})
DELTA = event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word " * 10}})
LAST = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}})
END = event({"type": "message_stop"}) + b"0\r\n\r\n"


async def run_model() -> None:
    """Answer every request with a stream of 20 events; those that ask for it go on until all of `x-hold` are there."""
    state = {"held": 0}
    changed = asyncio.Condition()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                raw = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in raw.strip().split("\r\n")[1:])
                await reader.readexactly(int(fields["content-length"]))
                writer.write(HEAD + FIRST)
                hold = int(fields.get("x-stainless-hold", "0"))
                if hold:
                    async with changed:
                        state["held"] += 1
                        changed.notify_all()
                        while state["held"] < hold:
                            await changed.wait()
                for _ in range(20):
                    writer.write(DELTA)
                    await writer.drain()
                writer.write(LAST + END)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def run_gateway(model_port: int, path: Path) -> None:
    """The gateway as a run has it: on a unix socket, with a budget."""
    from decimal import Decimal

    from pydantic import SecretStr

    from claude_flow_dagger.gateway.anthropic import AnthropicUpstream, ApiKey, UpstreamSettings
    from claude_flow_dagger.gateway.budget import Budget
    from claude_flow_dagger.gateway.server import serve
    from claude_flow_dagger.gateway.wire import RunToken

    await serve(
        upstream=AnthropicUpstream(UpstreamSettings(base_url=f"http://127.0.0.1:{model_port}"), ApiKey(SecretStr("k"))),
        listen=path,
        budget=Budget(usd=Decimal(100_000), deadline=time.monotonic() + 3600),
        stop=asyncio.Event(),
        token=RunToken("benchmark-" * 4),
        ledger_path=path.with_suffix(".jsonl"),
        on_ready=lambda _: print("ready", flush=True),
    )


class Peer:
    """A kept-alive connection that measures its requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, body: bytes, hold: int = 0) -> tuple[float, float]:
        """Send a request; seconds to the first byte of its body, and to its end."""
        head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {'benchmark-' * 4}\r\nx-stainless-hold: {hold}\r\n"
        began = time.perf_counter()
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"unexpected answer: {answer!r}")
        await self._reader.readline()
        first = time.perf_counter() - began
        await self._reader.readuntil(b"0\r\n\r\n")
        return first, time.perf_counter() - began

    def close(self) -> None:
        self._writer.close()


def conversation(kilobytes: int) -> bytes:
    """A request the size of Claude Code's: mostly descriptions of tools, then text."""
    schema = {"type": "object", "properties": {name: {"type": "string", "description": name * 6} for name in "abcdef"}}
    tool = {"name": "Tool", "description": "What this tool does, at some length. " * 40, "input_schema": schema}
    count = max(1, kilobytes * 1024 // 2 // len(json.dumps(tool)))
    text = "Some of the conversation so far, in words.\n" * (kilobytes * 1024 // 2 // 43)
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    base = {"model": "claude-sonnet-5-5", "max_tokens": 1000, "stream": True}
    return json.dumps({**base, "messages": messages, "tools": [tool] * count}).encode()


async def measure(requests: int, body: bytes, streams: int, port: int, path: Path) -> dict[str, Any]:
    direct = Peer(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))
    through = Peer(*await asyncio.open_unix_connection(str(path), limit=1 << 22))
    for _ in range(20):
        await direct.ask(body)
        await through.ask(body)
    firsts: dict[str, list[float]] = {"direct": [], "gateway": []}
    for _ in range(requests):
        firsts["direct"].append((await direct.ask(body))[0])
        firsts["gateway"].append((await through.ask(body))[0])
    direct.close()
    through.close()
    peers = [Peer(*await asyncio.open_unix_connection(str(path), limit=1 << 22)) for _ in range(streams)]
    began = time.perf_counter()
    # The model ends none of these before all have begun.
    held = await asyncio.wait_for(asyncio.gather(*(peer.ask(body, streams) for peer in peers)), 120)
    took = time.perf_counter() - began
    for peer in peers:
        peer.close()
    return {
        "body_kb": round(len(body) / 1024, 1),
        "requests": requests,
        **{
            name: {
                "median_ms": round(statistics.median(values) * 1000, 3),
                "p95_ms": round(statistics.quantiles(values, n=20)[18] * 1000, 3),
            }
            for name, values in firsts.items()
        },
        "added_median_ms": round(
            (statistics.median(firsts["gateway"]) - statistics.median(firsts["direct"])) * 1000, 3
        ),
        "streams_at_once": len(held),
        "streams_seconds": round(took, 3),
    }


async def start(*args: str) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, *args, stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    return process, (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as private:
        path = Path(private) / "g.sock"
        model, port = await start("--role", "model")
        gateway, _ = await start("--role", "gateway", "--port", port, "--socket", str(path))
        try:
            found = [
                await measure(arguments.requests, conversation(size), arguments.streams, int(port), path)
                for size in arguments.body_kb
            ]
        finally:
            for process in (gateway, model):
                process.kill()
                await process.wait()
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    return {"machine": machine, "measured": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--body-kb", type=int, nargs="+", default=[60, 350])
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--role", choices=["model", "gateway"], help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--socket", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.role == "model":
        asyncio.run(run_model())
    elif arguments.role == "gateway":
        asyncio.run(run_gateway(arguments.port, arguments.socket))
    else:
        report = asyncio.run(run(arguments))
        print(report["machine"])
        print("body KB | direct ms | gateway ms | added ms (goal: under 5) | streams at once")
        for row in report["measured"]:
            direct, through = row["direct"]["median_ms"], row["gateway"]["median_ms"]
            held = f"{row['streams_at_once']} in {row['streams_seconds']} s"
            print(f"{row['body_kb']:7} | {direct:9} | {through:10} | {row['added_median_ms']:24} | {held}")
        text = json.dumps(report, indent=2)
        print(text)
        if arguments.json:
            arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
