"""Signals ask a run to end; nothing of it may outlive the answer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def cancel_on_signal(cancelled: asyncio.Event) -> Iterator[None]:
    """While this lasts, SIGINT, SIGTERM and SIGHUP set `cancelled` and do nothing else.

    Must be entered in a running event loop of the main thread.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in STOPPING}
    for number in STOPPING:
        loop.add_signal_handler(number, cancelled.set)
    try:
        yield
    finally:
        for number in STOPPING:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


def interrupt_on_signal() -> None:
    """Make SIGTERM and SIGHUP what SIGINT is, an exception: outside of a run too, whatever was begun is cleaned up."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
