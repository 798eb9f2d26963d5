"""How many runs of one user work at once on one machine: as many as its free memory takes, the others wait."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

MIB: Final = 1024**2
AGENT_MEMORY: Final = 450 * MIB
"""Bytes that an agent's tree takes before its tools: claude-flow's server, Claude Code, the gateway (measured)."""
COMMAND_MEMORY: Final = 200 * MIB
RESERVE: Final = 1024 * MIB
"""Bytes that stay free for everything else."""
SETTLING_S: Final = 20.0
"""Seconds from a run's admission until its memory shows in what is free."""
_POLL_S: Final = 0.25


def free_memory() -> int:
    """Bytes that could be given to programs now, by /proc/meminfo; a very large number where there is none."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return 1 << 62
    fields = dict(line.split(":", 1) for line in text.splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def fits(free: int, need: int, recent: dict[str, int], now: float) -> bool:
    """Whether one more run fits beside those whose memory does not show yet. Pure.

    Args:
        free: bytes, as measured.
        need: bytes of the run.
        recent: what each admission of late has claimed, by its time.
        now: the same clock.
    """
    claimed = sum(size for at, size in recent.items() if 0 <= now - float(at) < SETTLING_S)
    return free - claimed - need >= RESERVE


@asynccontextmanager
async def admitted(
    directory: Path, need: int, cancelled: asyncio.Event, on_wait: Callable[[str], None]
) -> AsyncIterator[None]:
    """Wait until there is memory for a run, and count as one that runs until the context is left.

    A run that is alone is always let in, however little is free: its own limits hold it. What a killed one held is free
    at once, since locks end with their process.

    Args:
        directory: shared by the runs that know of each other; made if it is missing.
        need: bytes.
        cancelled: ends the wait.
        on_wait: told, now and then, why it waits.

    Raises:
        OSError: nothing can be written there.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 - once, before anything else runs
    with _opened(directory / "turnstile") as turnstile, _opened(directory / "running") as running:
        # Whoever holds the turnstile is the next; the others only look whether it is free.
        while not _lock(turnstile, fcntl.LOCK_EX):
            on_wait("waiting for memory: other runs are before this one")
            if await _stopped(cancelled):
                break
        else:
            while not (_lock(running, fcntl.LOCK_EX) or _fits(turnstile, need)):
                on_wait(f"waiting for memory: {free_memory() // MIB} MiB are free, and others run")
                if await _stopped(cancelled):
                    break
            _remember(turnstile, need)
        fcntl.flock(running, fcntl.LOCK_SH)  # waits for a moment at most: nobody keeps it to itself
        fcntl.flock(turnstile, fcntl.LOCK_UN)
        yield


def _fits(turnstile: int, need: int) -> bool:
    return fits(free_memory(), need, _recent(turnstile), time.time())


def _recent(turnstile: int) -> dict[str, int]:
    try:
        found = json.loads(os.pread(turnstile, 1 << 16, 0) or b"{}")
    except ValueError:
        return {}  # cut off by a kill: its claim is lost, and the next ones are not
    return found if isinstance(found, dict) else {}


def _remember(turnstile: int, need: int) -> None:
    now = time.time()
    recent = {at: size for at, size in _recent(turnstile).items() if 0 <= now - float(at) < SETTLING_S}
    data = json.dumps({**recent, f"{now:.6f}": need}).encode()
    os.pwrite(turnstile, data, 0)
    os.ftruncate(turnstile, len(data))


def _lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _stopped(cancelled: asyncio.Event) -> bool:
    try:
        await asyncio.wait_for(cancelled.wait(), _POLL_S)
    except TimeoutError:
        return False
    return True


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
