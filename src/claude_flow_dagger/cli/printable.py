"""Text out of a sandbox, made safe for a terminal."""

from __future__ import annotations

import re
from typing import Final

# Everything that moves a cursor, rewrites a title or turns the direction of text around: C0 without tab and line end,
# DEL, C1, the bidirectional controls, and the line and paragraph separators.
_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with each such character shown as a visible escape, such as `\\x1b`.

    Args:
        text: anything; carriage returns before line ends are dropped.
    """
    return _UNSAFE.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))
