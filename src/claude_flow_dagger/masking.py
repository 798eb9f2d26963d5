"""Secrets out of every byte that leaves: exact values in their usual encodings, and what looks like a key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

from claude_flow_dagger.errors import RefusedInput
from claude_flow_dagger.masking_patterns import HELD, PEM, SHAPES, open_from
from claude_flow_dagger.masking_variants import Variant, branches, could_grow, longest, variants

MASK: Final = "***"
SHORTEST: Final = 6
"""Characters of the shortest secret: masking a shorter one would shred ordinary text."""
_MASK: Final = MASK.encode()
_HEAD: Final = 3
"""Items by which a place in a stream is told from one that cannot be a secret's beginning."""
_CONTEXT: Final = 1
"""Bytes before the held ones that a pattern looks at."""


class Masker:
    """Replaces secrets by `***`.

    Found are the exact values: raw, JSON-escaped, URL-encoded, shell- and HTML-escaped, in hexadecimal, and in base64
    (standard and URL-safe, at any alignment, with lines folded anywhere); of a secret of several lines, each line of
    at least six characters as well. With `patterns`, also what looks like a common key (`masking_patterns.SHAPES`) or
    a PEM private key.

    Not found: a secret that was compressed, encrypted, reversed, split by other text, or encoded twice in base64.

    Args:
        secrets: the exact values; blanks at their ends are not part of them, and empty ones are passed over.
        patterns: whether to look for common keys too.

    Raises:
        RefusedInput: a secret of fewer than six characters.
    """

    def __init__(self, secrets: Iterable[str | bytes] = (), *, patterns: bool = True) -> None:
        values = sorted({part for secret in secrets for part in _parts(secret)}, key=lambda v: (-len(v), v))
        self._variants: tuple[Variant, ...] = tuple(dict.fromkeys(v for value in values for v in variants(value)))
        self._patterns = patterns
        self._expression = _compile(self._variants, patterns=patterns)
        self._window = max((longest(variant) for variant in self._variants), default=0)
        self._beginnings: dict[int, list[Variant]] = {}
        for variant in self._variants:
            for byte in {spelling[0] for spelling in variant[0]}:
                self._beginnings.setdefault(byte, []).append(variant)
        heads = tuple(dict.fromkeys(variant[:_HEAD] for variant in self._variants))
        self._head = _compile(heads, patterns=False)
        self._near = max((longest(head) for head in heads), default=0)

    def __repr__(self) -> str:
        return f"Masker({MASK})"

    def __reduce__(self) -> str:
        raise TypeError("a Masker holds secrets and is not pickled")

    def mask_bytes(self, data: bytes) -> bytes:
        """`data` with every secret replaced; the same object when there is none."""
        return self._expression.sub(_replaced, data) if self._expression is not None else data

    def mask_text(self, text: str) -> str:
        """`text` with every secret replaced; lone surrogates survive."""
        data = text.encode("utf-8", "surrogatepass")
        masked = self.mask_bytes(data)
        if masked == data:
            return text
        try:
            return masked.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:  # a secret of raw bytes cut a character
            return masked.decode("utf-8", "replace")

    def mask_json(self, value: Any) -> Any:
        """A JSON value with secrets replaced in its texts, keys and numbers; other objects are returned as they are.

        Two keys that become equal are told apart by a number.
        """
        if isinstance(value, str):
            return self.mask_text(value)
        if isinstance(value, dict):
            out: dict[Any, Any] = {}
            for key, inner in value.items():
                name = masked = self.mask_json(key)
                count = 1
                while name in out and name != key:
                    count += 1
                    name = f"{masked} ({count})"
                out[name] = self.mask_json(inner)
            return out
        if isinstance(value, list | tuple):
            return [self.mask_json(inner) for inner in value]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return MASK if self.mask_text(str(value)) != str(value) else value
        return value

    def stream(self) -> StreamMasker:
        """A masker of one stream of chunks."""
        return StreamMasker(self)

    def _settled(self, data: bytes) -> int:
        """How much of `data` no further byte can change: nothing before it is the beginning of a secret."""
        end = len(data)
        if self._head is not None:
            near = max(0, len(data) - self._near)
            whole_heads = (found.start() for found in _overlapping(self._head, data, max(0, len(data) - self._window)))
            for at in chain(whole_heads, range(near, len(data))):
                grows = self._beginnings.get(data[at], ())
                if any(could_grow(variant, data, at) for variant in grows):
                    end = at
                    break
        return min(end, open_from(data)) if self._patterns else end


class StreamMasker:
    """Masks a stream, whatever its chunks: holds back only what could still become a secret.

    Made by `Masker.stream`; the outputs of all calls joined are what `Masker.mask_bytes` makes of the inputs joined
    (save for a key by pattern that is longer than 64 KiB).
    """

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._context = b""
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; returns what is safe to pass on, perhaps nothing."""
        return self._out(chunk, last=False)

    def finish(self) -> bytes:
        """The end of the stream: what was held back, masked."""
        return self._out(b"", last=True)

    def _out(self, chunk: bytes, *, last: bool) -> bytes:
        skip = len(self._context)
        data = self._context + self._held + chunk
        expression = self._masker._expression
        if expression is None:
            return chunk
        end = len(data) if last else max(skip, self._masker._settled(data))
        out: list[bytes] = []
        at = skip
        for match in expression.finditer(data, skip):
            if match.start() >= end:
                break
            if match.end() > end and len(data) - match.start() <= HELD:
                end = match.start()
                break
            out += [data[at : match.start()], _replaced(match)]
            at = match.end()
        end = max(end, at)
        out.append(data[at:end])
        self._context = data[max(0, end - _CONTEXT) : end]
        self._held = data[end:]
        return b"".join(out)


def _parts(secret: str | bytes) -> set[bytes]:
    raw = secret.encode("utf-8", "surrogateescape") if isinstance(secret, str) else secret
    raw = raw.strip()
    if not raw:
        return set()
    if len(raw) < SHORTEST:
        raise RefusedInput(
            f"a secret of {len(raw)} characters cannot be masked: it would be found all over ordinary text",
            cure=f"use a secret of at least {SHORTEST} characters",
        )
    lines = {line.strip() for line in raw.splitlines()} if b"\n" in raw or b"\r" in raw else set()
    return {raw} | {line for line in lines if len(line) >= SHORTEST and not line.startswith(b"-----")}


def _compile(all_variants: tuple[Variant, ...], *, patterns: bool) -> re.Pattern[bytes] | None:
    """One expression whose top level is a choice by first byte, which `re` turns into a quick search for that byte."""
    by_first: dict[bytes, list[tuple[frozenset[bytes], bytes]]] = {}
    found = [branch for variant in all_variants for branch in branches(variant)]
    if patterns:
        found += [shape.branch() for shape in (PEM, *SHAPES)]
    for first, second, rest in found:
        by_first.setdefault(first, []).append((second, rest))
    if not by_first:
        return None
    return re.compile(b"|".join(_top(first, rests) for first, rests in sorted(by_first.items())))


def _top(first: bytes, rests: list[tuple[frozenset[bytes], bytes]]) -> bytes:
    """Everything that begins with one byte; a look at the second byte spares most of the tries."""
    seconds = sorted(set().union(*(second for second, _ in rests)))
    choice = b"(?:%s)" % b"|".join(rest for _, rest in rests)
    if not all(second for second, _ in rests):
        return re.escape(first) + choice
    return re.escape(first) + b"(?=[%s])" % b"".join(re.escape(byte) for byte in seconds) + choice


def _overlapping(expression: re.Pattern[bytes], data: bytes, at: int) -> Iterator[re.Match[bytes]]:
    while match := expression.search(data, at):
        yield match
        at = match.start() + 1


def _replaced(match: re.Match[bytes]) -> bytes:
    found = match[0]
    if found[:6].lower() == b"bearer":
        return found[:6] + b" " + _MASK
    return _MASK
