"""How well-known keys look. Pure; each is written as its first byte and the rest, so that searching stays fast."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Shape:
    """A kind of key: a literal beginning, and a regular expression of what follows it."""

    start: bytes
    rest: bytes

    def branch(self) -> tuple[bytes, frozenset[bytes], bytes]:
        """The first byte, the second, and the expression after the first; no letter, digit, `_` or `-` is before it."""
        alone = rb"(?<![A-Za-z0-9_-]" + re.escape(self.start) + b")"
        return self.start[:1], frozenset({self.start[1:2]}), re.escape(self.start[1:]) + alone + self.rest


_BLANK: Final = rb"(?:\s|\\[nr])"
_PEM_REST: Final = (
    rb"[A-Z ]{0,40}+(?<=PRIVATE KEY)-----"
    rb"(?:" + _BLANK + rb"*+[A-Za-z-]{3,30}+: [^\n\\]{0,100}+)*+"  # Proc-Type and DEK-Info of an encrypted key
    rb"(?:" + _BLANK + rb"*+[A-Za-z0-9+/=]{20,}+)*+"
    rb"(?:" + _BLANK + rb"*+[A-Za-z0-9+/=]*+" + _BLANK + rb"*+-----END[A-Z ]{1,40}+-----)?+"
)

SHAPES: Final[tuple[Shape, ...]] = (
    Shape(b"sk-ant-", rb"[A-Za-z0-9_-]{16,}+"),
    Shape(b"sk-", rb"(?:(?:proj|svcacct|admin|or-v1|lf)-[A-Za-z0-9_-]{20,}+|[A-Za-z0-9]{20,}+)"),
    Shape(b"sk_live_", rb"[A-Za-z0-9]{16,}+"),
    Shape(b"rk_live_", rb"[A-Za-z0-9]{16,}+"),
    *(Shape(b"gh%c_" % kind, rb"[A-Za-z0-9]{36,}+") for kind in b"pousr"),
    Shape(b"github_pat_", rb"[A-Za-z0-9_]{22,}+"),
    Shape(b"glpat-", rb"[A-Za-z0-9_.-]{20,}+"),
    Shape(b"AKIA", rb"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    Shape(b"ASIA", rb"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    *(Shape(b"xox%c-" % kind, rb"[A-Za-z0-9-]{10,}+") for kind in b"abposr"),
    Shape(b"AIza", rb"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    Shape(b"npm_", rb"[A-Za-z0-9]{36,}+"),
    Shape(b"pypi-", rb"[A-Za-z0-9_-]{50,}+"),
    Shape(b"hf_", rb"[A-Za-z0-9]{30,}+"),
    Shape(b"eyJ", rb"[A-Za-z0-9_-]{10,}+\.eyJ[A-Za-z0-9_-]{10,}+\.[A-Za-z0-9_-]{10,}+"),
    *(
        Shape(word, rb"[ \t]{1,4}(?=[A-Za-z._~+/=-]*[0-9])[A-Za-z0-9._~+/=-]{20,}+")
        for word in (b"Bearer", b"bearer", b"BEARER")
    ),
)

PEM: Final = Shape(b"-----BEGIN", _PEM_REST)

_TOKEN: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.~+/=-"
_STARTS: Final = tuple(sorted({shape.start for shape in SHAPES}))
_OPEN: Final = re.compile(rb"(?<![A-Za-z0-9_-])(?:" + b"|".join(re.escape(s) for s in _STARTS) + rb")")
_BEARER: Final = re.compile(rb"(?<![A-Za-z0-9_-])(?i:bearer)[ \t]{1,4}\Z")
_WORD: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_PEM_OPEN: Final = re.compile(rb"(?<![A-Za-z0-9_-])-----BEGIN[A-Z ]{0,40}-{0,5}\Z")
_PEM_BODY: Final = re.compile(
    rb"(?<![A-Za-z0-9_-])-----BEGIN[A-Z ]{0,40}(?<=PRIVATE KEY)-----[A-Za-z0-9+/=\s\\:,-]*+\Z"
)
HELD: Final = 64 * 1024
"""Bytes that may be held back for a key that is still growing; longer ones are no keys."""


def open_from(data: bytes) -> int:
    """Where a key that the next bytes could make or lengthen begins; the length of `data` when there is none."""
    window = max(0, len(data) - HELD)
    tail = data[window:]
    end = len(tail.rstrip(_TOKEN))
    bearer = _BEARER.search(tail, max(0, end - 16), end)
    at = bearer.start() if bearer else end
    found = _OPEN.search(tail, at)
    starts = [found.start()] if found else []
    starts += [len(tail) - n for start in (*_STARTS, PEM.start) if (n := _cut(tail, start))]
    starts += [pem.start() for pattern in (_PEM_OPEN, _PEM_BODY) if (pem := pattern.search(tail))]
    return window + min(starts) if starts else len(data)


def _cut(tail: bytes, start: bytes) -> int:
    """How many bytes at the end are the beginning of `start`, with no word before it."""
    for length in range(min(len(start), len(tail)), 0, -1):
        if tail.endswith(start[:length]) and (length == len(tail) or tail[-length - 1] not in _WORD):
            return length
    return 0
