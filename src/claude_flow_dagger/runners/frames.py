"""What the entrypoint says: one JSON object a line on its standard output. The same for every runner.

    {"frame": "start", "step": "main"}
    {"frame": "line", "step": "main", "fd": 1, "text": "…"}            text: one line without its end
    {"frame": "line", "step": "main", "fd": 1, "text": "…", "part": true}   the line goes on in the next frame
    {"frame": "end", "step": "main", "code": 0}                         128+N after signal N
    {"frame": "exit", "code": 0}                                        the last one

A sandbox can forge frames, since its processes share a user with the entrypoint: they are what it says, not evidence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

MAX_FRAME: Final = 1 << 20
"""Bytes of the longest frame; the entrypoint splits longer lines."""


@dataclass(frozen=True)
class StepStarted:
    """A step began."""

    step: str


@dataclass(frozen=True)
class Line:
    """A line that a step wrote, or a part of one that goes on (`part`)."""

    step: str
    fd: int
    text: str
    part: bool = False


@dataclass(frozen=True)
class StepEnded:
    """A step ended with this exit status."""

    step: str
    code: int


@dataclass(frozen=True)
class Exited:
    """The entrypoint ended with this exit status.

    Args:
        code: the status.
        refused: how many processes the kernel had refused by then, where that can be told.
        starved: how many it had killed for want of memory.
    """

    code: int
    refused: int = 0
    starved: int = 0


@dataclass(frozen=True)
class Noise:
    """Something on the entrypoint's output that is no frame."""

    text: str


Frame = StepStarted | Line | StepEnded | Exited | Noise


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def parse_frame(raw: bytes) -> Frame:
    """The frame in one line; whatever is no well-formed frame becomes `Noise`, never an error."""
    text = raw.decode("utf-8", "replace").rstrip("\n")
    try:
        data = json.loads(text)
    except ValueError:
        return Noise(text)
    match data:
        case {"frame": "start", "step": str(step)}:
            return StepStarted(step)
        case {"frame": "line", "step": str(step), "fd": int(fd), "text": str(line)}:
            return Line(step, fd, line, data.get("part") is True)
        case {"frame": "end", "step": str(step), "code": int(code)}:
            return StepEnded(step, code)
        case {"frame": "exit", "code": int(code)}:
            return Exited(code, *(_count(data.get(name)) for name in ("refused", "starved")))
        case _:
            return Noise(text)
