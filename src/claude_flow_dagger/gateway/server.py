"""The gateway as a server: in this process for a run, or standing alone for `claude-flow-dagger gateway`."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from claude_flow_dagger.errors import GatewayError, OutOfSpace
from claude_flow_dagger.gateway import prices
from claude_flow_dagger.gateway.app import GatewayApp
from claude_flow_dagger.gateway.budget import Budget, Gate
from claude_flow_dagger.gateway.exchange import Exchange
from claude_flow_dagger.gateway.ledger import LedgerBook
from claude_flow_dagger.gateway.upstreams import Upstream
from claude_flow_dagger.gateway.wire import RunToken
from claude_flow_dagger.result import Ledger, LedgerEntry

if TYPE_CHECKING:
    import uvicorn

MAX_SOCKET_PATH = 100
"""Bytes of a unix socket's path; the kernel's limit is 108, in another mount namespace it may be reached earlier."""


@dataclass(frozen=True)
class TcpAddress:
    """A TCP address to listen on; port 0 picks a free one."""

    host: str
    port: int = 0

    @property
    def url(self) -> str:
        """What goes into ANTHROPIC_BASE_URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


Listen = Path | TcpAddress
"""A unix socket's path, or a TCP address."""


class Gateway:
    """A running gateway; `Gateway.open` makes one."""

    def __init__(self, address: Listen, token: RunToken, book: LedgerBook, gate: Gate) -> None:
        self.address = address
        """Where it listens: the socket's path, or the address with its real port."""
        self.token = token
        self._book = book
        self._gate = gate

    def ledger(self) -> Ledger:
        """The sums so far; after the gateway is closed, the final ones."""
        return self._book.summary()

    @property
    def failure(self) -> OutOfSpace | None:
        """Why lines are missing from the ledger's file, if any are."""
        return self._book.failure

    @property
    def in_flight(self) -> int:
        """Requests that the model is working on."""
        return self._gate.account.in_flight

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        *,
        upstream: Upstream,
        listen: Listen,
        budget: Budget,
        token: RunToken,
        models: frozenset[str] | None = None,
        ledger_path: Path | None = None,
        on_entry: Callable[[LedgerEntry], None] | None = None,
    ) -> AsyncIterator[Gateway]:
        """Serve in this event loop until the context is left.

        Leaving it closes the socket, cuts what still runs, waits until it has settled and removes the socket's file. No
        signal handler is installed. The upstream stays the caller's to close.

        Args:
            upstream: where allowed requests go.
            listen: a unix socket (its directory must be private to this user, 0700) or a TCP address.
            budget: what all requests together may use.
            token: what a sandbox must show; a new one for every run.
            models: the models that may be asked for; None allows all.
            ledger_path: a JSONL file to append to.
            on_entry: called with every line of the ledger as its request settles.

        Raises:
            GatewayError: it cannot listen or write its ledger.
        """
        with ExitStack() as stack:
            book = LedgerBook(ledger_path, on_entry)
            stack.callback(book.close)
            listener, address = _listen(listen)
            stack.callback(listener.close)
            if isinstance(address, Path):
                stack.callback(_remove_socket, address, os.lstat(address).st_ino)
            gate = Gate(budget, time.monotonic)
            # The price table takes 0.3 s to load, about as long as an agent takes to start: neither waits.
            loading = asyncio.ensure_future(asyncio.to_thread(prices.warm))

            async def ready() -> None:
                await asyncio.shield(loading)

            app = GatewayApp(exchange=Exchange(upstream, gate), token=token, book=book, models=models, ready=ready)
            server = await _start(app, listener)
            try:
                yield cls(address, token, book, gate)
            finally:
                await _stop(server, app)
                await loading


async def serve(
    *,
    upstream: Upstream,
    listen: Listen,
    budget: Budget,
    stop: asyncio.Event,
    on_ready: Callable[[Gateway], None],
    token: RunToken | None = None,
    models: frozenset[str] | None = None,
    ledger_path: Path | None = None,
    on_entry: Callable[[LedgerEntry], None] | None = None,
) -> Ledger:
    """Run a gateway on its own until `stop` is set or its deadline has passed.

    Args:
        upstream: where allowed requests go; closed at the end.
        listen: see `Gateway.open`, as for the other arguments.
        budget: likewise.
        stop: ends it.
        on_ready: called once it listens, with its address and token.
        token: None makes a new one.
        models: see `Gateway.open`.
        ledger_path: likewise.
        on_entry: likewise.

    Returns:
        The sums over all requests.

    Raises:
        GatewayError: it cannot listen or write its ledger.
        OutOfSpace: the ledger's file is incomplete.
    """
    async with (
        upstream,
        Gateway.open(
            upstream=upstream,
            listen=listen,
            budget=budget,
            token=token or RunToken.generate(),
            models=models,
            ledger_path=ledger_path,
            on_entry=on_entry,
        ) as gateway,
    ):
        on_ready(gateway)
        left = None if budget.deadline is None else max(0.0, budget.deadline - time.monotonic())
        await asyncio.wait({waiting := asyncio.ensure_future(stop.wait())}, timeout=left)
        waiting.cancel()
    failure = gateway.failure
    if failure is not None:
        raise failure
    return gateway.ledger()


def _listen(listen: Listen) -> tuple[socket.socket, Listen]:
    if isinstance(listen, TcpAddress):
        return _listen_tcp(listen)
    return _listen_unix(listen), listen


def _listen_tcp(address: TcpAddress) -> tuple[socket.socket, TcpAddress]:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
    except OSError as error:
        listener.close()
        raise GatewayError(
            f"the gateway cannot listen on {address.url}: {error.strerror or error}",
            cure="name another address or port 0",
        ) from error
    return listener, TcpAddress(address.host, listener.getsockname()[1])


def _listen_unix(path: Path) -> socket.socket:
    if len(os.fsencode(path)) >= MAX_SOCKET_PATH:
        raise GatewayError(
            f"the socket's path {path} is too long for the kernel ({len(os.fsencode(path))} bytes)",
            cure=f"use a directory whose path is shorter, so that it stays under {MAX_SOCKET_PATH} bytes (TMPDIR=/tmp)",
        )
    try:
        parent = os.lstat(path.parent)
    except OSError as error:
        raise GatewayError(
            f"the gateway's directory {path.parent}: {error.strerror}", cure="make it, with mode 0700"
        ) from error
    if not stat.S_ISDIR(parent.st_mode) or parent.st_uid != os.geteuid() or parent.st_mode & 0o077:
        raise GatewayError(
            f"the gateway's directory {path.parent} is not private to this user", cure=f"chmod 0700 {path.parent}"
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(os.fspath(path))
        # Nobody else can get at the directory, so the moment between the two does no harm.
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise GatewayError(
            f"the gateway cannot listen on {path}: {error.strerror}", cure="use a new directory for every run"
        ) from error
    return listener


def _remove_socket(path: Path, inode: int) -> None:
    """Remove the socket's file if it is still the one that was made."""
    try:
        if os.lstat(path).st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass  # whoever removed the run's directory was quicker


async def _start(app: GatewayApp, listener: socket.socket) -> uvicorn.Server:
    import uvicorn

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        # A cut connection is an error to uvicorn and everyday life here; the ledger tells what it was.
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        # Longer than Claude Code keeps idle connections, which it would otherwise find closed now and then.
        timeout_keep_alive=120,
        timeout_graceful_shutdown=2,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    # `startup` and not `serve`: that one takes over the process's signals.
    await server.startup(sockets=[listener])
    return server


async def _stop(server: uvicorn.Server, app: GatewayApp) -> None:
    for listening in server.servers:
        listening.close()
    await app.close()
    await server.shutdown()
