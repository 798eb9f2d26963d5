"""Archives in and out of containers, streamed: a thread packs or unpacks at the other end of a socket pair."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import IO, Final, Literal, cast

from claude_flow_dagger.runners.docker.client import DaemonSays, Engine

_CHUNK: Final = 1 << 18


async def send(engine: Engine, container: str, place: str, pack: Callable[[IO[bytes]], None]) -> None:
    """Put an archive into a container, started or not.

    Args:
        engine: where.
        container: its id.
        place: the directory that it is unpacked in.
        pack: writes the archive; called in a thread of its own.

    Raises:
        DaemonSays: the daemon did not take it.
        ClaudeFlowDaggerError: what `pack` raised.
    """
    ours, theirs = socket.socketpair()
    with ours:
        worker = _Worker(theirs, "wb", pack)
        try:
            async with engine.stream(
                f"containers/{container}/archive", method="PUT", params={"path": place}, data=_chunks(ours)
            ):
                pass
        except DaemonSays:
            ours.close()
            # A packing that failed is the cause, a daemon that misses the archive's end is not.
            await worker.ended(ignore_pipe=True)
            raise
        finally:
            ours.close()
            await worker.ended(ignore_pipe=True)


async def fetch(engine: Engine, container: str, place: str, unpack: Callable[[IO[bytes]], None]) -> None:
    """Get an archive of a directory out of a container, running or not.

    Args:
        engine: where.
        container: its id.
        place: the directory.
        unpack: reads the archive; called in a thread of its own.

    Raises:
        DaemonSays: the daemon did not give it.
        ClaudeFlowDaggerError: what `unpack` raised.
    """
    ours, theirs = socket.socketpair()
    with ours:
        worker = _Worker(theirs, "rb", unpack)
        try:
            async with engine.stream(f"containers/{container}/archive", params={"path": place}) as response:
                loop = asyncio.get_running_loop()
                ours.setblocking(False)
                try:
                    async for chunk in response.content.iter_chunked(_CHUNK):
                        await loop.sock_sendall(ours, chunk)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # it has what it wanted, or failed: said below
        finally:
            ours.close()
            await worker.ended()


async def _chunks(source: socket.socket) -> AsyncIterator[bytes]:
    source.setblocking(False)
    loop = asyncio.get_running_loop()
    while chunk := await loop.sock_recv(source, _CHUNK):
        yield chunk


class _Worker:
    """Work on one end of a socket pair, in a thread of its own: a pool's could all be waiting for each other."""

    def __init__(self, end: socket.socket, mode: Literal["rb", "wb"], work: Callable[[IO[bytes]], None]) -> None:
        self._end = end
        self._mode = mode
        self._work = work
        self._problem: BaseException | None = None
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        threading.Thread(target=self._run, daemon=True).start()

    async def ended(self, *, ignore_pipe: bool = False) -> None:
        """Wait for the thread, which ends once the other end is closed; raises what it raised."""
        await self._done.wait()
        problem, self._problem = self._problem, None
        if problem is not None and not (ignore_pipe and isinstance(problem, BrokenPipeError)):
            raise problem

    def _run(self) -> None:
        try:
            with self._end, self._end.makefile("rb") if self._mode == "rb" else self._end.makefile("wb") as file:
                self._work(cast(IO[bytes], file))
        except BaseException as problem:
            self._problem = problem
        finally:
            self._loop.call_soon_threadsafe(self._done.set)
