"""The ways in which a secret is written: as it is, escaped, URL-encoded, in hexadecimal, in base64. Pure.

A variant is a sequence of items; each item is everything that one character (or base64 digit) can look like. So mixed
spellings are found as well, and one regular expression and one check of beginnings are made of the same data.
"""

from __future__ import annotations

import base64
import html
import re
from functools import cache
from itertools import groupby, pairwise
from typing import Final

Item = tuple[bytes, ...]
Variant = tuple[Item, ...]

_FOLDS: Final = (b"\r\n", b"\n", b"\\r\\n", b"\\n", b"\\\\n", b"=\n")
"""How long lines are broken: plainly, inside JSON (once or twice), and quoted-printable."""
_SHORT_ESCAPES: Final = {"\n": b"n", "\r": b"r", "\t": b"t", "\b": b"b", "\f": b"f"}


@cache
def spellings(char: str) -> Item:
    """One character: raw, percent-encoded, JSON and shell escapes (also twice), HTML entities."""
    raw = char.encode("utf-8", "surrogateescape")
    code = ord(char)
    out = {raw}
    for style in ("%02X", "%02x"):
        out.add(b"".join(b"%" + (style % byte).encode() for byte in raw))
        out.add(b"".join(b"\\x" + (style % byte).encode() for byte in raw))
        out.add(b"".join(b"%25" + (style % byte).encode() for byte in raw))
    out.add(b"".join(b"\\%03o" % byte for byte in raw))
    units = char.encode("utf-16-be", "surrogatepass")
    for style in ("%04x", "%04X"):
        escape = b"".join(
            b"\\u" + (style % int.from_bytes(units[at : at + 2])).encode() for at in range(0, len(units), 2)
        )
        out |= {escape, escape.replace(b"\\", b"\\\\")}
    out |= {b"&#%d;" % code, b"&#x%x;" % code, b"&#x%X;" % code, html.escape(char).encode("utf-8", "surrogateescape")}
    if char == "'":
        out |= {b"'\\''", b"'\"'\"'"}
    if char == " ":
        out.add(b"+")
    if char in _SHORT_ESCAPES:
        out |= {b"\\" * n + _SHORT_ESCAPES[char] for n in (1, 2, 4)}
        out |= {b"\r\n"} if char == "\n" else set()
    elif not char.isalnum():
        out |= {b"\\" * n + raw for n in (1, 2, 3, 7)}
    return tuple(sorted(out, key=lambda spelling: (-len(spelling), spelling)))


def variants(secret: bytes) -> tuple[Variant, ...]:
    """Every variant of one secret."""
    text = secret.decode("utf-8", "surrogateescape")
    hexadecimal = tuple((b"%02x" % byte, b"%02X" % byte) for byte in secret)
    encoded = [tuple(_digit(digit) for digit in core) for core in _cores(secret)]
    plain = tuple(_run(char, len(list(same))) for char, same in groupby(text))
    unique = {plain, _one_each(hexadecimal), *encoded}
    return tuple(sorted(unique))


def _run(char: str, count: int) -> Item:
    """A run of one character is spelled in one way: else a run of backslashes could be read in exponentially many."""
    return tuple(spelling * count for spelling in spellings(char))


def _one_each(items: Variant) -> Variant:
    return tuple(tuple(sorted(set(item))) for item in items)


def _cores(secret: bytes) -> list[str]:
    """The base64 digits that depend on nothing but the secret, at each of the three alignments."""
    cores = []
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + secret).decode().rstrip("=")
        first = (shift * 8 + 5) // 6
        last = (shift + len(secret)) * 8 // 6
        cores.append(text[first:last])
    return cores


@cache
def _digit(digit: str) -> Item:
    other = {"+": "-", "/": "_"}.get(digit)
    out = set(spellings(digit)) if not digit.isalnum() else {digit.encode()}
    if other:
        out.add(other.encode())
    return tuple(sorted(out, key=lambda spelling: (-len(spelling), spelling)))


def branches(variant: Variant) -> list[tuple[bytes, frozenset[bytes], bytes]]:
    """Regular expressions of a variant: the first byte, what the second can be, and all after the first."""
    fold = b"(?:%s)?" % b"|".join(re.escape(mark) for mark in _FOLDS)
    following = variant[1:2]
    second = {piece[:1] for item in following for piece in item}
    if following and _foldable(variant[0], following[0]):
        second |= {mark[:1] for mark in _FOLDS}
    tail = b"".join((fold if _foldable(before, item) else b"") + _either(item) for before, item in pairwise(variant))
    found = []
    for first in sorted({spelling[:1] for spelling in variant[0]}):
        same = tuple(spelling for spelling in variant[0] if spelling[:1] == first)
        seconds = {spelling[1:2] for spelling in same if len(spelling) > 1}
        seconds |= second if first in same else set()
        rest = _either(tuple(spelling[1:] for spelling in same)) + tail
        found.append((first, frozenset(seconds), rest))
    return found


def _foldable(before: Item, after: Item) -> bool:
    """Not beside line breaks and backslashes: a break could be read in two ways there, and so on exponentially."""
    return not any(spelling[:1] in {b"\n", b"\r"} or set(spelling) == {92} for spelling in before + after)


def _either(item: Item) -> bytes:
    if len(item) == 1:
        return re.escape(item[0])
    return b"(?:%s)" % b"|".join(re.escape(spelling) for spelling in item)


def could_grow(variant: Variant, tail: bytes, start: int) -> bool:
    """Whether `tail`, from `start` to its end, is a beginning of the variant and not yet all of it."""
    waiting = [(0, start)]
    seen = set(waiting)
    while waiting:
        index, at = waiting.pop()
        if at == len(tail):
            return True
        marks = _FOLDS if index and _foldable(variant[index - 1], variant[index]) else ()
        steps = [(index, mark) for mark in marks] + [(index + 1, spelling) for spelling in variant[index]]
        for following, piece in steps:
            rest = tail[at : at + len(piece)]
            if rest != piece:
                if at + len(rest) == len(tail) and piece.startswith(rest):
                    return True
                continue
            state = (following, at + len(piece))
            if following < len(variant) and state not in seen:
                seen.add(state)
                waiting.append(state)
    return False


def longest(variant: Variant) -> int:
    """Bytes of the longest spelling, folds included."""
    return sum(max(len(spelling) for spelling in item) for item in variant) + max(len(f) for f in _FOLDS) * len(variant)
