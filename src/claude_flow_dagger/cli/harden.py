"""What a process does that holds a key."""

from __future__ import annotations

import ctypes
import resource
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4


def harden() -> bool:
    """Keep other processes of the same user from reading this one's memory, environment and core dumps.

    A variable that was unset still stands in `/proc/PID/environ`, which any process of the same user can read unless
    the process is not dumpable.

    Returns:
        Whether it worked; False where the system has no such switch.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
