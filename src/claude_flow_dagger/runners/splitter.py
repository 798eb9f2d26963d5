"""Bytes of an entrypoint's output, in whatever chunks they arrive, to frames."""

from __future__ import annotations

from claude_flow_dagger.runners.frames import MAX_FRAME, Frame, Noise, parse_frame


class FrameSplitter:
    """Cuts a stream of bytes into frames; holds at most one unfinished line, of `MAX_FRAME` bytes."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order. A line longer than any frame comes as pieces of `Noise`."""
        self._pending += data
        *lines, rest = self._pending.split(b"\n")
        self._pending = bytearray(rest)
        frames = [frame for line in lines for frame in self._frames(bytes(line))]
        while len(self._pending) > MAX_FRAME:
            frames.append(_noise(bytes(self._pending[:MAX_FRAME])))
            del self._pending[:MAX_FRAME]
        return frames

    def close(self) -> list[Frame]:
        """What is left once the stream has ended."""
        rest = bytes(self._pending)
        self._pending.clear()
        return self._frames(rest) if rest else []

    def _frames(self, line: bytes) -> list[Frame]:
        if len(line) <= MAX_FRAME:
            return [parse_frame(line)]
        return [_noise(line[at : at + MAX_FRAME]) for at in range(0, len(line), MAX_FRAME)]


def _noise(piece: bytes) -> Noise:
    return Noise(piece.decode("utf-8", "replace"))
