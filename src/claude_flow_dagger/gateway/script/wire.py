"""A script's turn as the Messages API would say it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from claude_flow_dagger.gateway.script.model import StopReason, Tokens, Turn

_SIGNATURE = "c2NyaXB0ZWQ="
"""Thinking comes signed; nobody but the real API checks it."""


@dataclass(frozen=True)
class Reply:
    """A turn on its way out.

    Args:
        turn: what the script says.
        model: the name that the request used.
        number: counts the script's replies; ids are made from it, so a script plays the same every time.
        request_bytes: the request's length, from which its tokens are guessed.
    """

    turn: Turn
    model: str
    number: int
    request_bytes: int

    def message(self) -> dict[str, Any]:
        """The whole message, as it is answered to a request that doesn't stream."""
        return self._message(self._content(), str(self._stop), self._usage())

    def events(self) -> Iterator[bytes]:
        """The server-sent events of the message, in the API's order."""
        usage = self._usage()
        start = {**usage, "output_tokens": min(1, usage["output_tokens"])}
        yield _event({"type": "message_start", "message": self._message([], None, start)})
        yield _event({"type": "ping"})
        for index, block in enumerate(self._content()):
            yield from self._block(index, block)
        delta = {"stop_reason": str(self._stop), "stop_sequence": None}
        yield _event({"type": "message_delta", "delta": delta, "usage": usage})
        yield _event({"type": "message_stop"})

    def _block(self, index: int, block: dict[str, Any]) -> Iterator[bytes]:
        deltas: list[dict[str, str]]
        match block["type"]:
            case "text":
                empty = {**block, "text": ""}
                deltas = [{"type": "text_delta", "text": part} for part in self._chunks(block["text"])]
            case "thinking":
                empty = {**block, "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": part} for part in self._chunks(block["thinking"])]
                deltas.append({"type": "signature_delta", "signature": _SIGNATURE})
            case _:
                empty = {**block, "input": {}}
                text = json.dumps(block["input"], ensure_ascii=False)
                deltas = [{"type": "input_json_delta", "partial_json": part} for part in ("", *self._chunks(text))]
        yield _event({"type": "content_block_start", "index": index, "content_block": empty})
        for delta in deltas:
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})

    def _chunks(self, text: str) -> list[str]:
        size = self.turn.chunk_chars
        return [text[at : at + size] for at in range(0, len(text), size)]

    def _content(self) -> list[dict[str, Any]]:
        turn = self.turn
        content: list[dict[str, Any]] = []
        if turn.thinking is not None:
            content.append({"type": "thinking", "thinking": turn.thinking, "signature": _SIGNATURE})
        if turn.text is not None:
            content.append({"type": "text", "text": turn.text})
        for index, call in enumerate(turn.tools, 1):
            tool_id = f"toolu_script_{self.number:04}_{index:02}"
            content.append({"type": "tool_use", "id": tool_id, "name": call.name, "input": call.input})
        return content

    def _message(self, content: list[dict[str, Any]], stop: str | None, usage: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": f"msg_script_{self.number:04}",
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": stop,
            "stop_sequence": None,
            "usage": usage,
        }

    @property
    def _stop(self) -> StopReason:
        return self.turn.stop or (StopReason.TOOL_USE if self.turn.tools else StopReason.END_TURN)

    def _usage(self) -> dict[str, Any]:
        tokens = self.turn.usage or Tokens(
            input=estimated_tokens(self.request_bytes),
            output=estimated_tokens(len(json.dumps(self._content(), ensure_ascii=False).encode())),
        )
        return {
            "input_tokens": tokens.input,
            "output_tokens": tokens.output,
            "cache_read_input_tokens": tokens.cache_read,
            "cache_creation_input_tokens": tokens.cache_write + tokens.cache_write_1h,
            "cache_creation": {
                "ephemeral_5m_input_tokens": tokens.cache_write,
                "ephemeral_1h_input_tokens": tokens.cache_write_1h,
            },
            "service_tier": "standard",
        }


def estimated_tokens(size: int) -> int:
    """Tokens of so many bytes, roughly: a quarter, and at least one."""
    return max(1, size // 4)


def _event(data: dict[str, Any]) -> bytes:
    return f"event: {data['type']}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
