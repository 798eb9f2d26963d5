"""`.gitignore` as git reads it (gitignore(5), `dir.c` and `wildmatch.c` of git 2.39). Pure.

A pattern is hostile text: it is compiled to matching that takes no exponential time (atomic groups for the stars
within a name, a greedy walk for `**` between names).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_CLASSES: Final[dict[bytes, bytes]] = {
    b"alnum": rb"0-9A-Za-z",
    b"alpha": rb"A-Za-z",
    b"blank": rb" \t",
    b"cntrl": rb"\x00-\x1f\x7f",
    b"digit": rb"0-9",
    b"graph": rb"\x21-\x7e",
    b"lower": rb"a-z",
    b"print": rb"\x20-\x7e",
    b"punct": rb"\x21-\x2f\x3a-\x40\x5b-\x60\x7b-\x7e",
    b"space": rb" \t\n\r\f\v",
    b"upper": rb"A-Z",
    b"xdigit": rb"0-9A-Fa-f",
}


class _NeverMatches(Exception):
    pass


@dataclass(frozen=True)
class Pattern:
    """One line: `groups` are runs of whole names between `**`; a basename pattern is one group of one name."""

    negated: bool
    directory_only: bool
    basename: bool
    groups: tuple[tuple[re.Pattern[bytes], ...], ...]
    open_end: bool
    """The pattern ends in `/**`: at least one more name follows."""

    def matches(self, names: list[bytes], *, is_directory: bool) -> bool:
        """Whether the path, given as its names below the `.gitignore`'s directory, fits."""
        if self.directory_only and not is_directory:
            return False
        if self.basename:
            return self.groups[0][0].fullmatch(names[-1]) is not None
        return _walk(self.groups, names[:-1] if self.open_end else names, anchored_end=not self.open_end)


def _walk(groups: tuple[tuple[re.Pattern[bytes], ...], ...], names: list[bytes], *, anchored_end: bool) -> bool:
    """Leftmost matching of each group is enough, as it is with `*` in a single name."""

    def fits(group: tuple[re.Pattern[bytes], ...], at: int) -> bool:
        return at + len(group) <= len(names) and all(p.fullmatch(names[at + i]) for i, p in enumerate(group))

    first, *rest = groups
    if not fits(first, 0):
        return False
    at = len(first)
    if not rest:
        return at == len(names) if anchored_end else True
    *middle, last = rest
    if not anchored_end:
        middle, last = rest, ()
    for group in middle:
        found = next((start for start in range(at, len(names) - len(group) + 1) if fits(group, start)), None)
        if found is None:
            return False
        at = found + len(group)
    start = len(names) - len(last)
    return start >= at and fits(last, start)


@dataclass(frozen=True)
class Rules:
    """The patterns of one `.gitignore`, with the depth of its directory (the root's is 0)."""

    depth: int
    patterns: tuple[Pattern, ...]

    def decision(self, names: list[bytes], *, is_directory: bool) -> bool | None:
        """True: ignored, False: taken back by `!`, None: no pattern speaks of it. `names` lead from the root."""
        below = names[self.depth :]
        for pattern in reversed(self.patterns):
            if pattern.matches(below, is_directory=is_directory):
                return not pattern.negated
        return None


def ignored(stack: tuple[Rules, ...], path: bytes, *, is_directory: bool) -> bool:
    """Whether the `.gitignore` files from the root (first) down to the path's directory (last) ignore it."""
    names = path.split(b"/")
    for rules in reversed(stack):
        decision = rules.decision(names, is_directory=is_directory)
        if decision is not None:
            return decision
    return False


def parse(text: bytes, depth: int) -> Rules:
    """The patterns of a `.gitignore` in a directory `depth` below the root."""
    lines = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    patterns = (_pattern(line[:-1] if line.endswith(b"\r") and len(line) > 1 else line) for line in lines)
    return Rules(depth, tuple(pattern for pattern in patterns if pattern is not None))


def _pattern(line: bytes) -> Pattern | None:
    if line.startswith(b"#"):
        return None
    text = _without_trailing_blanks(line)
    negated = text.startswith(b"!")
    text = text[1:] if negated else text
    directory_only = text.endswith(b"/")
    text = text[:-1] if directory_only else text
    basename = b"/" not in text
    text = text.removeprefix(b"/")
    if not text:
        return None
    try:
        if basename:
            return Pattern(negated, directory_only, True, ((_name(_tokens(text)),),), False)
        groups, open_end = _groups(_tokens(text))
    except _NeverMatches:
        return None
    return Pattern(negated, directory_only, False, groups, open_end)


def _without_trailing_blanks(line: bytes) -> bytes:
    keep = at = 0
    while at < len(line):
        at += 2 if line[at : at + 1] == b"\\" else 1
        if line[at - 1 : at] != b" " or line[at - 2 : at - 1] == b"\\":
            keep = min(at, len(line))
    return line[:keep]


_SLASH: Final = b"/"
_STAR: Final = b"*"


def _tokens(text: bytes) -> list[bytes]:
    """`/`, `*`, and regular expressions of exactly one byte each."""
    out: list[bytes] = []
    at = 0
    while at < len(text):
        char = text[at : at + 1]
        at += 1
        if char == b"\\":
            if at == len(text):
                raise _NeverMatches
            char = text[at : at + 1]
            at += 1
            out.append(_SLASH if char == _SLASH else b"(?:%s)" % re.escape(char))
        elif char == b"?":
            out.append(b".")
        elif char == b"[":
            single, at = _class(text, at)
            out.append(single)
        elif char in (_SLASH, _STAR):
            out.append(char)
        else:
            out.append(b"(?:%s)" % re.escape(char))
    return out


def _class(text: bytes, at: int) -> tuple[bytes, int]:
    """The regular expression of a bracket whose `[` ends before `at`, and where it ends."""
    inverted = text[at : at + 1] in (b"!", b"^")
    at += inverted
    members: list[bytes] = []
    previous: bytes | None = None
    first = True
    while first or text[at : at + 1] != b"]":
        first = False
        char = text[at : at + 1]
        at += 1
        if not char:
            raise _NeverMatches
        if char == b"-" and previous is not None and text[at : at + 1] not in (b"", b"]"):
            high, at = _member(text, at)
            if previous <= high:
                members.append(re.escape(previous) + b"-" + re.escape(high))
            previous = None
        elif char == b"[" and text[at : at + 1] == b":":
            end = text.find(b"]", at + 1)
            if end < 0:
                raise _NeverMatches
            if text[end - 1 : end] == b":" and end - 1 > at:
                name = text[at + 1 : end - 1]
                if name not in _CLASSES:
                    raise _NeverMatches
                members.append(_CLASSES[name])
                at, previous = end + 1, None
            else:
                members.append(rb"\[")
                previous = b"["
        else:
            previous, at = _member(text, at - 1)
            members.append(re.escape(previous))
    inside = b"".join(members)
    if not inside:
        return (b"." if inverted else b"(?!)."), at + 1
    return b"[%s%s]" % (b"^" if inverted else b"", inside), at + 1


def _member(text: bytes, at: int) -> tuple[bytes, int]:
    char = text[at : at + 1]
    if char == b"\\":
        at += 1
        char = text[at : at + 1]
        if not char:
            raise _NeverMatches
    return char, at + 1


def _name(tokens: list[bytes]) -> re.Pattern[bytes]:
    """One name's pattern. Every piece between stars has a fixed length, so the leftmost match of each is enough."""
    pieces: list[bytes] = [b""]
    for token in tokens:
        if token == _STAR:
            pieces.append(b"")
        else:
            pieces[-1] += token
    first, *rest = pieces
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = b"".join(b"(?>.*?%s)" % piece for piece in rest[:-1] if piece)
    return re.compile(first + middle + b".*" + rest[-1], re.DOTALL)


def _groups(tokens: list[bytes]) -> tuple[tuple[tuple[re.Pattern[bytes], ...], ...], bool]:
    segments: list[list[bytes]] = [[]]
    for token in tokens:
        if token == _SLASH:
            segments.append([])
        else:
            segments[-1].append(token)
    groups: list[list[re.Pattern[bytes]]] = [[]]
    for segment in segments:
        if len(segment) > 1 and all(token == _STAR for token in segment):
            groups.append([])
        else:
            groups[-1].append(_name(segment))
    last = segments[-1]
    open_end = len(last) > 1 and all(token == _STAR for token in last)
    if open_end:
        groups.pop()
    return tuple(tuple(group) for group in groups), open_end
