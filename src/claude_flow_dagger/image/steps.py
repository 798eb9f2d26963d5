"""A build's progress, read from the plain output of BuildKit and of podman."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

_NAMED: Final = re.compile(r"^#(\d+) \[(?!internal\])(?:(?P<stage>[^\]]*?)\s*\d+/\d+)\] (?P<what>.+)$")
_CACHED: Final = re.compile(r"^#(\d+) CACHED$")
_BUILDX_CACHED: Final = re.compile(r"^#(\d+) .*\bCACHED\b$")
_NOISE: Final = re.compile(r"--mount=\S+|\bset -eu;|: \"\w*\";")
_FAILED: Final = re.compile(r"^#(\d+) ERROR")


@dataclass
class Steps:
    """Which steps a build has, and which of them were taken from the cache; fed line by line."""

    names: dict[int, str] = field(default_factory=dict)
    cached: set[int] = field(default_factory=set)

    def feed(self, line: str) -> str | None:
        """Take in one line; returns the step's name when a new one begins."""
        if found := (_CACHED.match(line) or _BUILDX_CACHED.match(line)):
            self.cached.add(int(found[1]))
            return None
        found = _NAMED.match(line)
        if found is None or int(found[1]) in self.names or _FAILED.match(line):
            return None
        what = " ".join(_NOISE.sub("", found["what"]).split())
        name = f"{found['stage'] or 'image'}: {what[:90]}"
        self.names[int(found[1])] = name
        return name

    @property
    def total(self) -> int:
        """Steps that run or are cached; FROM lines and the build's own bookkeeping are not counted."""
        return len(self._own)

    @property
    def reused(self) -> int:
        """Those of them that were cached."""
        return len(self.cached & set(self._own))

    @property
    def _own(self) -> list[int]:
        return [number for number, name in self.names.items() if ": FROM " not in name]
