"""Tokens, read out of answers as they pass: nothing is altered and no stream is held back."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

MAX_EVENT: Final = 8 << 20
"""Bytes of a server-sent event that are kept to look into; a longer one passes unread."""
MAX_BODY: Final = 64 << 20
"""Bytes of a JSON answer that are kept to look into."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of one request. The five kinds are disjoint, as the Messages API counts them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """Cache writes of five minutes."""
    cache_write_1h_tokens: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
        )


def usage_of(raw: Any, before: Usage | None = None) -> Usage | None:
    """The usage in a `usage` object of the Messages API.

    Args:
        raw: the object; anything else is no usage.
        before: what an earlier event said. The counts of a stream are cumulative: a count named here replaces the
            earlier one, one left out keeps it.

    Returns:
        The usage, or `before` when there is none in `raw`.
    """
    if not isinstance(raw, Mapping):
        return before
    old = before or Usage()
    split = raw.get("cache_creation")
    written = _count(raw, "cache_creation_input_tokens")
    five, hour = old.cache_write_tokens, old.cache_write_1h_tokens
    if isinstance(split, Mapping):
        hour = _or(_count(split, "ephemeral_1h_input_tokens"), 0)
        five = _or(_count(split, "ephemeral_5m_input_tokens"), max(0, _or(written, hour) - hour))
    elif written is not None:
        # message_delta repeats the sum without the split: what an earlier event called an hour's write stays one.
        hour = min(hour, written)
        five = written - hour
    return Usage(
        input_tokens=_or(_count(raw, "input_tokens"), old.input_tokens),
        output_tokens=_or(_count(raw, "output_tokens"), old.output_tokens),
        cache_read_tokens=_or(_count(raw, "cache_read_input_tokens"), old.cache_read_tokens),
        cache_write_tokens=five,
        cache_write_1h_tokens=hour,
    )


def _count(raw: Mapping[str, Any], key: str) -> int | None:
    value = raw.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


class Reader(ABC):
    """Watches an answer pass."""

    usage: Usage | None = None
    """What the answer told so far."""
    complete: bool = False
    """Whether `usage` is the final word."""
    error: str | None = None
    """The type of the error that the answer carried."""

    @abstractmethod
    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes."""

    def end(self) -> None:  # noqa: B027 - most have nothing to do
        """The answer's bytes ended as HTTP says they should."""

    @property
    def cut_short(self) -> bool:
        """Whether the answer, although its bytes ended well, lacks its last event."""
        return False


class BlindReader(Reader):
    """For answers that cannot be looked into, such as compressed ones: they settle at their reservation."""

    def feed(self, chunk: bytes) -> None:
        """Nothing to see."""


class JsonReader(Reader):
    """Reads a JSON answer: a message, a token count or an error."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._overflow = False

    def feed(self, chunk: bytes) -> None:
        """Keep a copy of the chunk."""
        self._overflow = self._overflow or len(self._body) + len(chunk) > MAX_BODY
        if not self._overflow:
            self._body += chunk

    def end(self) -> None:
        """Parse what was kept."""
        try:
            data = json.loads(self._body)
        except (ValueError, RecursionError):
            return
        if isinstance(data, dict):
            self.usage = usage_of(data.get("usage"))
            self.complete = self.usage is not None
            self.error = error_type(data)


class SseReader(Reader):
    """Reads a stream of server-sent events, however it is cut into chunks."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._data = bytearray()
        self._after_cr = False
        self._stopped = False

    @property
    def cut_short(self) -> bool:
        """Whether neither a stop reason nor `message_stop` came."""
        return not self._stopped

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the stream."""
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._after_cr = False
        if chunk:
            self._after_cr = chunk.endswith(b"\r")
        lines = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for index, part in enumerate(lines):
            if len(self._line) + len(part) <= MAX_EVENT:
                self._line += part
            if index < len(lines) - 1:
                line, self._line = bytes(self._line), bytearray()
                self._take(line)

    def _take(self, line: bytes) -> None:
        if not line:
            data, self._data = bytes(self._data), bytearray()
            if data:
                self._dispatch(data)
        elif line.startswith(b"data:") and len(self._data) + len(line) <= MAX_EVENT:
            if self._data:
                self._data += b"\n"
            self._data += line[5:].removeprefix(b" ")

    def _dispatch(self, data: bytes) -> None:
        # Most events of a stream are deltas; parsing only those that can tell something keeps this cheap.
        if b'"usage"' not in data and b'"error"' not in data and b'"message_stop"' not in data:
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return
        match event:
            case {"type": "message_start", "message": {"usage": usage}}:
                self.usage = usage_of(usage, self.usage)
            case {"type": "message_delta", "usage": usage}:
                self.usage = usage_of(usage, self.usage)
                delta = event.get("delta")
                self._stop(isinstance(delta, dict) and delta.get("stop_reason") is not None)
            case {"type": "message_stop"}:
                self._stop(True)
            case {"type": "error"}:
                self.error = error_type(event)

    def _stop(self, stopped: bool) -> None:
        self._stopped = self._stopped or stopped
        self.complete = self._stopped and self.usage is not None


def error_type(data: Mapping[str, Any]) -> str | None:
    """The type in an error of the Messages API: `{"type": "error", "error": {"type": "rate_limit_error", …}}`."""
    match data:
        case {"error": {"type": str(kind)}}:
            return kind[:100]
        case _:
            return None


def reader_for(headers: Mapping[str, str]) -> Reader:
    """The reader that fits an answer's headers (names in lower case)."""
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        return BlindReader()
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return SseReader() if kind == "text/event-stream" else JsonReader()


def reserved_usage(usage: Usage | None, *, input_tokens: int, output_tokens: int) -> Usage:
    """What a cut answer settles at: its input as far as it was told, else as estimated, and the output reserved for it.

    The upstream bills what it generated up to the cut, which nobody told; the reservation is the only bound on it.
    """
    if usage is None:
        return Usage(input_tokens=input_tokens, output_tokens=output_tokens)
    return replace(usage, output_tokens=max(usage.output_tokens, output_tokens))
