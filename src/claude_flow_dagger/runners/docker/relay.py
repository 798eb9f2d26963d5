"""The gateway's socket for a daemon that does not see this machine's files: Docker Desktop, another machine.

A second container offers a socket in a volume and carries its connections over its attached standard input and output
to this process. So the gateway, its key and its ledger stay here; what ends this process ends the relay, and with it
the sandbox's lease.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import IntEnum
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from claude_flow_dagger.errors import SandboxError
from claude_flow_dagger.runners.docker.boxes import remove_container, remove_volume, to_the_end
from claude_flow_dagger.runners.docker.client import DaemonSays, Engine, told
from claude_flow_dagger.runners.docker.image import RuntimeImage
from claude_flow_dagger.runners.docker.problems import explain_start
from claude_flow_dagger.runners.docker.spec import Names, relay_config

if TYPE_CHECKING:
    from aiodocker.stream import Stream

_HEAD: Final = struct.Struct(">IBI")
_CHUNK: Final = 1 << 16
_START_S: Final = 60.0


class _Kind(IntEnum):
    OPEN = 0
    DATA = 1
    END = 2
    CLOSE = 3


@asynccontextmanager
async def relay(engine: Engine, image: RuntimeImage, names: Names, socket: Path) -> AsyncIterator[None]:
    """A container that offers a socket of this machine in the volume `names.relay`, until the context is left.

    Args:
        engine: where.
        image: with the runtime: its Node carries.
        names: of the sandbox that it is for.
        socket: of this machine; every connection is carried to it.

    Raises:
        SandboxError: it does not start.
    """
    script = files(__package__).joinpath("relay.mjs").read_text(encoding="utf-8")
    config = relay_config(image, names, (image.layout().node, "--input-type=module", "-e", script), engine.kind)
    try:
        try:
            # One that a killed start left is at its end, since nobody is attached to it.
            await remove_container(engine, names.relay)
            with told():
                await engine.volumes.create({"Name": names.relay, "Labels": names.labels})
                container = await engine.docker.containers.create(config, name=names.relay)
                stream = container.attach(stdin=True, stdout=True, stderr=True)
        except DaemonSays as says:
            raise explain_start(f"container {names.relay}", says.answer) from says
        carrier = _Carrier(stream, socket)
        try:
            with told():
                await stream._init()
                await container.start()
            task = asyncio.create_task(carrier.carry())
            try:
                await carrier.wait_ready(task)
                yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        except DaemonSays as says:
            raise explain_start(f"container {names.relay}", says.answer) from says
        finally:
            await stream.close()
    finally:
        _, interrupted = await to_the_end(_remove(engine, names))
        if interrupted:
            raise asyncio.CancelledError


async def _remove(engine: Engine, names: Names) -> None:
    # The sandbox's own container may still hold the volume; it is removed with it, or by the next start.
    with suppress(DaemonSays):
        await remove_container(engine, names.relay)
        await remove_volume(engine, names.relay)


class _Carrier:
    """This machine's end: a connection to the gateway for each one in the container."""

    def __init__(self, stream: Stream, socket: Path) -> None:
        self._stream = stream
        self._socket = socket
        self._ready = asyncio.Event()
        self._writing = asyncio.Lock()
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._errors = bytearray()

    async def wait_ready(self, task: asyncio.Task[None]) -> None:
        """Until the socket is there.

        Raises:
            SandboxError: it isn't going to be.
        """
        ready = asyncio.create_task(self._ready.wait())
        try:
            both: set[asyncio.Future[Any]] = {ready, task}
            await asyncio.wait(both, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
            if not self._ready.is_set():
                last = self._errors.decode("utf-8", "replace").strip()[-300:]
                raise SandboxError(f"the relay to the gateway did not start: {last or 'it says nothing'}")
        finally:
            ready.cancel()

    async def carry(self) -> None:
        """Until the container's end of it is gone."""
        pending = bytearray()
        try:
            while (message := await self._stream.read_out()) is not None:
                if message.stream == 2:
                    self._errors = (self._errors + message.data)[-4096:]
                    continue
                pending += message.data
                while len(pending) >= _HEAD.size:
                    number, kind, length = _HEAD.unpack_from(pending)
                    if len(pending) < _HEAD.size + length:
                        break
                    data = bytes(pending[_HEAD.size : _HEAD.size + length])
                    del pending[: _HEAD.size + length]
                    await self._take(number, _Kind(kind), data)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _take(self, number: int, kind: _Kind, data: bytes) -> None:
        if number == 0:
            self._ready.set()
        elif kind is _Kind.OPEN:
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket)
            except OSError:
                # The gateway is closed: to the sandbox it is as if nobody had answered.
                await self._say(number, _Kind.CLOSE)
                return
            self._writers[number] = writer
            self._tasks[number] = asyncio.create_task(self._back(number, reader, writer))
        elif (target := self._writers.get(number)) is not None:
            with suppress(ConnectionError):
                if kind is _Kind.DATA:
                    target.write(data)
                    await target.drain()
                elif kind is _Kind.END:
                    target.write_eof()
                else:
                    self._tasks[number].cancel()

    async def _back(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._say(number, _Kind.DATA, data)
            await self._say(number, _Kind.END)
        except ConnectionError:
            await self._say(number, _Kind.CLOSE)
        finally:
            writer.close()
            self._writers.pop(number, None)
            self._tasks.pop(number, None)

    async def _say(self, number: int, kind: _Kind, data: bytes = b"") -> None:
        async with self._writing:
            with suppress(ConnectionError, RuntimeError):  # the stream is at its end, and so is the run
                await self._stream.write_in(_HEAD.pack(number, kind, len(data)) + data)
