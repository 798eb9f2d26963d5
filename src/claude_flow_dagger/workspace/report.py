"""What copying a directory may use, and what came of it. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from claude_flow_dagger.result import Notice

_SHOWN: Final = 20

Progress = Callable[[int, int], None]
"""Called now and then with the entries and bytes that are done so far."""


@dataclass(frozen=True, kw_only=True)
class CopyLimits:
    """Caps on a directory tree that is copied or scanned.

    Args:
        bytes: of all files together, by their apparent size (a hole in a sparse file counts).
        entries: files, directories and symlinks together.
        depth: directories below each other; each level holds two file descriptors open.
    """

    bytes: int = 32 * 1024**3
    entries: int = 1_000_000
    depth: int = 200


@dataclass(frozen=True, kw_only=True)
class CopyReport:
    """What was copied.

    Args:
        files: regular files; a hard link counts as a file of its own.
        directories: without the root.
        symlinks: kept as symlinks.
        bytes: of the files.
        notices: what was left out or changed, and why; at most 20 of a kind by name, then a count.
    """

    files: int = 0
    directories: int = 0
    symlinks: int = 0
    bytes: int = 0
    notices: tuple[Notice, ...] = ()


@dataclass
class NoticeList:
    """Collects notices and stops naming each thing once there are too many of a kind."""

    _kept: list[Notice] = field(default_factory=list)
    _seen: Counter[str] = field(default_factory=Counter)

    def add(self, code: str, message: str) -> None:
        """Keep one notice, or only count it."""
        self._seen[code] += 1
        if self._seen[code] <= _SHOWN:
            self._kept.append(Notice(code=code, message=message))

    def all(self) -> tuple[Notice, ...]:
        """The notices, and one line for each kind that had more."""
        more = [
            Notice(code=code, message=f"and {count - _SHOWN} more of the kind {code}")
            for code, count in sorted(self._seen.items())
            if count > _SHOWN
        ]
        return (*self._kept, *more)
