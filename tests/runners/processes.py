"""Evidence from /proc: which processes of a test are alive."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def alive(marker: str) -> list[int]:
    """Ids of living processes, zombies aside, that have this text in their command line, environment or directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            texts = [
                (entry / "cmdline").read_bytes(),
                (entry / "environ").read_bytes(),
                bytes((entry / "cwd").readlink()),
            ]
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if state != "Z" and any(marker.encode() in text for text in texts):
            found.append(int(entry.name))
    return found


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
