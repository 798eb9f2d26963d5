"""One warden from this side: starts it, hands its output on, asks it to stop, reads its report, sees it end."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from claude_flow_dagger.errors import SandboxError
from claude_flow_dagger.result import Ending, Outcome
from claude_flow_dagger.runners.frames import Exited, Frame
from claude_flow_dagger.runners.splitter import FrameSplitter

T = TypeVar("T")

_WARDEN: Final = Path(__file__).with_name("warden.py")
_MARGIN_S: Final = 3.0
"""What the entrypoint gets on top of the plan's grace to say its last words."""
_BACKSTOP_S: Final = 10.0
"""How much later than this runner the warden ends a run that lasts too long."""
_STDERR: Final = 4096
_FULL: Final = 1 << 20
"""Free bytes below which a disk counts as full."""


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """What the warden is to run and to watch; `warden.py` tells what each means."""

    argv: tuple[str, ...]
    depth: int
    plain: bool
    memory: int
    pids: int
    cpus: float
    wall_s: float
    grace_s: float
    workspace: Path


async def supervise(what: Supervised, cancelled: asyncio.Event, on_frame: Callable[[Frame], None]) -> Outcome:
    """Run a command under a warden to its end; the warden and all that it started are dead when this returns or raises.

    Raises:
        SandboxError: the warden could not be started.
    """
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as report:
        try:
            # Cancelled half way, nobody would know the process.
            warden, interrupted = await _to_the_end(_start(what, writing))
        except OSError as error:
            raise SandboxError(f"{sys.executable}: the warden could not be started: {error.strerror}") from error
        finally:
            os.close(writing)
        watch = _Watch(warden, on_frame)
        try:
            if interrupted:
                raise asyncio.CancelledError
            asked = await watch.until_end(what.wall_s, cancelled)
        finally:
            _, interrupted = await _to_the_end(watch.close())
        if interrupted:
            raise asyncio.CancelledError
        said = report.read()
    return _outcome(watch, asked, _parse(said), what)


async def _start(what: Supervised, report_fd: int) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", str(_WARDEN), _config(what, report_fd)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={},
        cwd="/",
        start_new_session=True,
        pass_fds=(report_fd,),
    )


class _Watch:
    """A running warden."""

    def __init__(self, warden: asyncio.subprocess.Process, on_frame: Callable[[Frame], None]) -> None:
        self._warden = warden
        self._on_frame = on_frame
        self._splitter = FrameSplitter()
        self.stderr = b""
        self.spoke = False
        self.exited: int | None = None
        self._readers = {asyncio.create_task(self._frames()), asyncio.create_task(self._errors())}

    async def until_end(self, wall_s: float, cancelled: asyncio.Event) -> Ending | None:
        """Until the sandbox is at its end: what this side asked for, if it did."""
        end = asyncio.create_task(self._ended())
        stopping = asyncio.create_task(cancelled.wait())
        asked = None
        try:
            events: set[asyncio.Future[Any]] = {end, stopping}
            await asyncio.wait(events, timeout=wall_s, return_when=asyncio.FIRST_COMPLETED)
            if not end.done():
                asked = Ending.CANCELLED if stopping.done() else Ending.TIMED_OUT
                self._lifeline.write(b"T")
            await end
            return asked
        finally:
            end.cancel()
            stopping.cancel()
            await asyncio.gather(end, stopping, return_exceptions=True)

    async def _ended(self) -> None:
        """Until the warden is gone and all that was said is heard; raises what `on_frame` raised."""
        gone = asyncio.create_task(self._warden.wait())
        pending: set[asyncio.Future[Any]] = {gone, *self._readers}
        while pending:
            # Something that cannot be killed, and only that, could hold the pipes for longer than the warden lives.
            patience = _MARGIN_S if gone.done() else None
            done, pending = await asyncio.wait(pending, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if not done:
                return

    async def close(self) -> None:
        """The end of the lifeline: the warden kills what is left, then ends itself."""
        self._lifeline.close()
        for reader in self._readers:
            reader.cancel()
        # Their errors are on their way to the caller already.
        await asyncio.gather(*self._readers, return_exceptions=True)
        drains = {asyncio.create_task(self._drain(end)) for end in (self._warden.stdout, self._warden.stderr)}
        await self._warden.wait()
        for drain in drains:
            drain.cancel()
        await asyncio.wait(drains)

    @property
    def _lifeline(self) -> asyncio.StreamWriter:
        assert self._warden.stdin is not None  # noqa: S101 - asked for in _start
        return self._warden.stdin

    async def _drain(self, stream: asyncio.StreamReader | None) -> None:
        while await self._read(stream):
            pass

    async def _frames(self) -> None:
        while data := await self._read(self._warden.stdout):
            self._report(self._splitter.feed(data))
        self._report(self._splitter.close())

    def _report(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.spoke = True
            if isinstance(frame, Exited):
                self.exited = frame.code
            self._on_frame(frame)

    async def _errors(self) -> None:
        while data := await self._read(self._warden.stderr):
            self.stderr = (self.stderr + data)[-_STDERR:]

    @staticmethod
    async def _read(stream: asyncio.StreamReader | None) -> bytes:
        return b"" if stream is None else await stream.read(1 << 16)


def _config(what: Supervised, report_fd: int) -> str:
    return json.dumps(
        {
            "argv": what.argv,
            "report_fd": report_fd,
            "memory": what.memory,
            "pids": what.pids,
            "cpus": what.cpus,
            "wall": what.wall_s + what.grace_s + _MARGIN_S + _BACKSTOP_S,
            "grace": what.grace_s + _MARGIN_S,
            "depth": what.depth,
            "plain": what.plain,
        }
    )


async def _to_the_end(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Await to the end, however often this task is cancelled meanwhile: the result, and whether it was."""
    task = asyncio.ensure_future(work)
    interrupted = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            interrupted = True
        except Exception:
            break
    return task.result(), interrupted


def _parse(said: bytes) -> dict[str, Any]:
    try:
        report = json.loads(said)
    except ValueError:
        return {"ending": "broken", "code": None, "peak": None, "left": []}
    return dict(report)


def _outcome(watch: _Watch, asked: Ending | None, report: dict[str, Any], what: Supervised) -> Outcome:
    """The warden's report, this side's own doings and the entrypoint's last word, as one ending."""
    peak: int | None = report["peak"]
    code: int | None = report["code"]
    last_words = watch.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    why = f": {last_words[0]}" if last_words else ""

    ended = report["ending"]
    table = (
        (report["left"] != [], Ending.BROKEN, f"processes that cannot be killed: {report['left']}"),
        (asked is Ending.CANCELLED, Ending.CANCELLED, "cancelled"),
        (asked is None and ended == "stopped", Ending.CANCELLED, "somebody stopped the warden"),
        (Ending.TIMED_OUT in (asked, ended), Ending.TIMED_OUT, f"its {what.wall_s:g} s of wall time are over"),
        (ended == "out_of_memory", Ending.OUT_OF_MEMORY, f"used more than {what.memory / 1024**2:.0f} MiB of memory"),
        (ended == "too_many_processes", Ending.TOO_MANY_PROCESSES, f"more than {what.pids} processes and threads"),
        (ended != "exited", Ending.BROKEN, f"the warden ended without a report{why}"),
        (not watch.spoke, Ending.BROKEN, f"the sandbox did not start (exit status {code}){why}"),
        (watch.exited is None, Ending.BROKEN, f"the entrypoint ended without a word (exit status {code}){why}"),
        (code != 0 and _full(what.workspace), Ending.OUT_OF_SPACE, f"{what.workspace}: the disk is full"),
    )
    for hit, ending, detail in table:
        if hit:
            return Outcome(ending=ending, detail=detail, peak_memory=peak)
    return Outcome(ending=Ending.EXITED, exit_code=code, peak_memory=peak)


def _full(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < _FULL
    except OSError:
        return False  # gone, with the run that was in it
