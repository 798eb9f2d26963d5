"""One installing process at a time, seen through to its end: own session, time and memory limits, nothing survives."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import RuntimeInstallError
from claude_flow_dagger.runtime.locking import Cancelled

MEMORY_LIMIT: Final = 3 * 1024**3
"""Bytes. npm has been seen at 18 GB and Claude Code at 12.9 GB; both install within 1 GB (measured)."""
TICK_S: Final = 0.1
TAIL_BYTES: Final = 64 * 1024


@dataclass(frozen=True)
class Ended:
    """How it ended: the exit status (negative after a signal) and the last of what it said."""

    code: int
    output: str


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    cancel: threading.Event,
    is_node: bool,
    on_tick: Callable[[], None] = lambda: None,
) -> Ended:
    """Run a command; its whole process group is gone when this returns or raises.

    Args:
        is_node: the kernel holds the memory limit too. Not for Claude Code: its Bun reserves more than it uses and
            aborts under RLIMIT_DATA (seen).
        on_tick: called about ten times a second meanwhile.

    Raises:
        RuntimeInstallError: it could not be started or took too long.
        Cancelled: `cancel` was set.
    """
    command = [str(part) for part in argv]
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command, cwd=cwd, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise RuntimeInstallError(
                f"{command[0]} cannot be started: {error}",
                cure="is this machine's C library and processor the wheel's?",
            ) from error
        try:
            if is_node:
                _limit_data(process.pid)
            deadline = time.monotonic() + timeout_s
            while True:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(TICK_S)
                    break
                on_tick()
                if cancel.is_set():
                    raise Cancelled
                if _resident(process.pid) > MEMORY_LIMIT:
                    raise RuntimeInstallError(
                        f"{command[0]} used more than {MEMORY_LIMIT // 1024**3} GiB of memory and was ended",
                        cure="try again, and report it if it happens twice",
                    )
                if time.monotonic() > deadline:
                    raise RuntimeInstallError(
                        f"{command[0]} was not done after {timeout_s:.0f} s: {_tail(output.fileno())[-500:]}",
                        cure="try again; is the registry reachable and quick?",
                    )
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return Ended(process.returncode, _tail(output.fileno()))


def _limit_data(pid: int) -> None:
    # Only Linux can limit another process; a preexec_fn is not safe beside threads, and two installs run at once.
    if sys.platform == "linux":
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (MEMORY_LIMIT, MEMORY_LIMIT))


def _resident(pid: int) -> int:
    """Bytes of memory of a process; 0 where that cannot be read."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, TAIL_BYTES, max(0, size - TAIL_BYTES)).decode("utf-8", "replace")
