"""A started container from this side: what it says, what it uses, how it is stopped, how it came to its end."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from claude_flow_dagger.result import Ending
from claude_flow_dagger.runners.docker.client import DaemonSays, Engine, told
from claude_flow_dagger.runners.frames import Exited, Frame
from claude_flow_dagger.runners.splitter import FrameSplitter

_PATIENCE_S: Final = 5.0
"""How much longer than a container its log may take to end, and how late a stop may be."""
_SAMPLE_S: Final = 1.0
_LAST_WORDS: Final = 4096
_DELAY_S: Final = 0.2


@dataclass
class Used:
    """What was seen of a container's use of resources; None where the daemon does not tell.

    Args:
        memory: the most bytes of its processes and temporary files, sampled every second; caches don't count.
    """

    memory: int | None = None

    def add(self, sample: dict[str, Any]) -> None:
        """Take in one answer of the daemon's statistics."""
        memory = sample.get("memory_stats") or {}
        if usage := memory.get("usage"):
            parts = memory.get("stats") or {}
            cache = parts.get("total_inactive_file", parts.get("inactive_file", 0))
            self.memory = max(self.memory or 0, int(usage) - int(cache))


@dataclass
class Watch:
    """A container that was started.

    Args:
        engine: where.
        container: its id.
        on_frame: called for every frame, in order.
        stop_s: seconds between a request to stop and the end by force.
    """

    engine: Engine
    container: str
    on_frame: Callable[[Frame], None]
    stop_s: int
    spoke: bool = False
    exited: Exited | None = None
    used: Used = field(default_factory=Used)
    _splitter: FrameSplitter = field(default_factory=FrameSplitter)
    _heard: int = 0

    async def until_end(self, wall_s: float, cancelled: asyncio.Event) -> Ending | None:
        """Until the container is at its end: what this side asked for, if it did.

        Args:
            wall_s: seconds that it may still run.
            cancelled: stops it.

        Raises:
            DaemonSays: the daemon went away.
        """
        end = asyncio.create_task(self._ended())
        stopping = asyncio.create_task(cancelled.wait())
        starving = asyncio.create_task(self._out_of_memory())
        sampling = asyncio.create_task(self._sample())
        asked = None
        try:
            events: set[asyncio.Future[Any]] = {end, stopping, starving}
            await asyncio.wait(events, timeout=max(0.0, wall_s), return_when=asyncio.FIRST_COMPLETED)
            if not end.done():
                asked = Ending.TIMED_OUT
                if stopping.done():
                    asked = Ending.CANCELLED
                elif starving.done():
                    asked = Ending.OUT_OF_MEMORY
                await self._stop()
            await end
            return asked
        finally:
            tasks = (end, stopping, starving, sampling)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def state(self) -> dict[str, Any]:
        """The daemon's account of the container's state."""
        with told():
            shown = await self.engine.docker.containers.container(self.container).show()
        return dict(shown["State"])

    async def last_words(self) -> str:
        """Why an entrypoint could not be started: the last line of standard error that names an error."""
        said = bytearray()
        async for piece in self._log(stdout=False, follow=False):
            said = (said + piece)[-_LAST_WORDS:]
        lines = said.decode("utf-8", "replace").strip().splitlines()
        return next((line for line in reversed(lines) if "error" in line.lower()), (lines or [""])[-1])

    async def _ended(self) -> None:
        reading = asyncio.create_task(self._read())
        waiting = asyncio.create_task(self._gone())
        try:
            await asyncio.wait({reading, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
                # A log may end later than its container, but not much.
                await asyncio.wait({reading}, timeout=_PATIENCE_S)
            else:
                reading.result()
            await waiting
            if reading.done():
                reading.result()
            self._report(self._splitter.close())
        finally:
            for task in (reading, waiting):
                task.cancel()
            await asyncio.gather(reading, waiting, return_exceptions=True)

    async def _gone(self) -> None:
        """Until the container runs no longer."""
        while True:
            async with self.engine.stream(f"containers/{self.container}/wait", method="POST") as response:
                await response.read()
            # Podman answers a wait that was sent right after the start too early.
            if (await self.state())["Status"] not in ("running", "created", "stopping", "configured", "initialized"):
                return
            await asyncio.sleep(_DELAY_S)

    async def _read(self) -> None:
        """Every frame, once, also when the log's stream breaks off in between."""
        while True:
            skip = self._heard
            async for piece in self._log(stdout=True, follow=True):
                new = piece[min(skip, len(piece)) :]
                skip -= len(piece) - len(new)
                self._heard += len(new)
                self._report(self._splitter.feed(new))
            if (await self.state())["Status"] != "running":
                return
            await asyncio.sleep(_DELAY_S)

    def _report(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.spoke = True
            if isinstance(frame, Exited):
                self.exited = frame
            self.on_frame(frame)

    async def _log(self, *, stdout: bool, follow: bool) -> AsyncIterator[bytes]:
        params = {"stdout": int(stdout), "stderr": int(not stdout), "follow": int(follow)}
        async with self.engine.stream(f"containers/{self.container}/logs", params=params) as response:
            content = response.content
            while True:
                try:
                    header = await content.readexactly(8)
                    # One byte of stream, three of nothing, four of length.
                    yield await content.readexactly(int.from_bytes(header[4:], "big"))
                except asyncio.IncompleteReadError:
                    return

    async def _stop(self) -> None:
        """Ask it to end; the daemon itself ends it for good when it takes too long."""
        limit = self.stop_s + _PATIENCE_S
        try:
            with told():
                async with asyncio.timeout(limit):
                    await self.engine.docker.containers.container(self.container).stop(t=self.stop_s)
        except DaemonSays as says:
            if says.answer.status in (304, 404):
                return  # at its end already
            raise

    async def _sample(self) -> None:
        """Statistics, for as long as there are any; they decide nothing. Podman streams one in 5 s only."""
        params = {"stream": 0, "one-shot": 1}
        try:
            while True:
                async with self.engine.stream(f"containers/{self.container}/stats", params=params) as response:
                    self.used.add(json.loads(await response.read()))
                await asyncio.sleep(_SAMPLE_S)
        except (DaemonSays, ValueError):
            return

    async def _out_of_memory(self) -> None:
        """Until the kernel has killed a process of the container's: an agent without its tools is at its end.

        Podman has no such event: there the end tells.
        """
        if self.engine.kind == "docker":
            filters = json.dumps({"container": [self.container], "event": ["oom"]})
            try:
                async with self.engine.stream("events", params={"filters": filters}) as response:
                    async for line in response.content:
                        if line.strip():
                            return
            except DaemonSays:
                pass  # whoever waits for the end is told as well
        await asyncio.Event().wait()


def seconds_since(started: str) -> float:
    """Seconds since a time as the daemon writes it: RFC 3339, with up to nine digits of a second."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)", started)
    if match is None:
        return 0.0
    begun = datetime.fromisoformat(match[1] + match[2].replace("Z", "+00:00"))
    return max(0.0, (datetime.now(UTC) - begun).total_seconds())
