"""File locks between processes: one writer makes or removes a tree, many readers use it."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import RuntimeInstallError

POLL_S: Final = 0.2


class Cancelled(BaseException):
    """Another part of the same install failed or was interrupted. Never leaves this package."""


@contextmanager
def exclusive(
    path: Path, *, cancel: threading.Event, on_wait: Callable[[], None], timeout_s: float = 1800.0
) -> Iterator[None]:
    """Hold the lock alone. The kernel frees it when the process ends, however it ends.

    Args:
        path: the lock file; made if missing and never removed, since another process may wait on it.
        cancel: when set, the wait ends with `Cancelled`.
        on_wait: called once if somebody else holds the lock.

    Raises:
        RuntimeInstallError: somebody held it for all of `timeout_s`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + timeout_s
        waited = False
        while not _try(descriptor, fcntl.LOCK_EX):
            if not waited:
                on_wait()
                waited = True
            if time.monotonic() > deadline:
                raise RuntimeInstallError(
                    f"another process has held {path} for {timeout_s:.0f} s", cure="end it, then try again"
                )
            if cancel.wait(POLL_S):
                raise Cancelled
        yield
    finally:
        os.close(descriptor)


@contextmanager
def exclusive_if_free(path: Path) -> Iterator[bool]:
    """Hold the lock alone if nobody else holds it; says whether."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield _try(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Hold the lock together with other readers; waits for a writer to be done."""
    # A cache that was moved or copied may come without its locks.
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
