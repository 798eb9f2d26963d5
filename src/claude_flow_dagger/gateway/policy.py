"""What a request to the model may ask for. Pure.

The model's API is itself a way out of a sandbox: it fetches addresses, runs code and talks to MCP servers when asked.
None of that is needed by an agent whose tools run on its own side, so none of it passes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from claude_flow_dagger.gateway.budget import Amount, Need
from claude_flow_dagger.gateway.prices import model_id, price, undated
from claude_flow_dagger.gateway.usage import Usage
from claude_flow_dagger.gateway.wire import No
from claude_flow_dagger.result import Refusal

_CLIENT_TOOLS: Final = ("bash_", "text_editor_", "computer_", "memory_", "tool_search_tool_")
"""Typed tools that act on the client's side (or, the last, only look at the request's own list of tools)."""
_PLAIN_TOOLS: Final = frozenset({"custom", "tool_definition", "tool_reference"})
"""Tools of the client's own, and how Claude Code 2.1.330 adds and removes them in the middle of a conversation."""
_SOURCES: Final = frozenset({"base64", "text", "content"})
"""Sources that carry their bytes along; `url` and `file` make the API fetch them."""
_DEPTH: Final = 8
_IMAGE_TOKENS: Final = 5_000
"""An upper bound for one image."""


@dataclass(frozen=True)
class Asked:
    """A well-formed request, as far as the gateway needs to know it.

    Args:
        model: as it was sent.
        max_tokens: the most output that it asks for.
        stream: whether the answer comes as server-sent events.
        fast: whether it asks for the dearer, faster service.
        input_estimate: tokens of its input, on the high side.
        hour_cache: whether it may write to the cache of an hour, or (False) of five minutes at most.
        data: the whole of it.
    """

    model: str
    max_tokens: int
    stream: bool
    fast: bool
    input_estimate: int
    hour_cache: bool
    data: dict[str, Any]


def read_request(body: bytes, *, models: frozenset[str] | None, counting: bool = False) -> Asked | No:
    """Check a request's body.

    Args:
        body: the bytes, which are sent on unchanged if they pass; a repeated key is refused, since the upstream might
            read another of the two.
        models: the models that the run may use; None allows all. A dated id is allowed by its undated one.
        counting: for `count_tokens`, where `max_tokens` may be left out.

    Returns:
        The request, or why it is refused.
    """
    try:
        data = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return _malformed(f"the request is no well-formed JSON: {error}")
    if not isinstance(data, dict):
        return _malformed("the request is no JSON object")
    model, most, stream = data.get("model"), data.get("max_tokens"), data.get("stream", False)
    if not isinstance(model, str) or not model:
        return _malformed("the request names no model")
    if counting and most is None:
        most = 1
    if not isinstance(most, int) or isinstance(most, bool) or not 0 < most <= 10_000_000:
        return _malformed("the request's `max_tokens` is no sensible number")
    if not isinstance(stream, bool | None):
        return _malformed("the request's `stream` is neither true nor false")
    if not _allowed(model, models):
        names = ", ".join(sorted(models or ()))
        return No(Refusal.NOT_ALLOWED, f"the model {model[:200]!r} is not one of this run's models ({names})")
    offence = next(_offences(data), None) or _fallback_offence(data, models)
    if offence is not None:
        return No(Refusal.NOT_ALLOWED, f"{offence} is not allowed in a sandbox")
    return Asked(
        model=model,
        max_tokens=most,
        stream=bool(stream),
        fast=data.get("speed") == "fast",
        input_estimate=estimate_tokens(body, data),
        hour_cache=b'"1h"' in body,
        data=data,
    )


def estimate_tokens(body: bytes, data: dict[str, Any]) -> int:
    """The input's tokens, on the high side: a token is seldom under three bytes, and images cost little for theirs."""
    sizes = [
        len(source["data"])
        for block in _blocks(data)
        if isinstance(source := block.get("source"), dict)
        and source.get("type") == "base64"
        and isinstance(source.get("data"), str)
        and str(source.get("media_type", "")).startswith("image/")
    ]
    return (len(body) - sum(sizes)) // 3 + 1 + len(sizes) * _IMAGE_TOKENS


def need_of(asked: Asked) -> Need | None:
    """What the request may come to; None when its model has no known price (then `tokens_only` has it)."""
    hour, five = (asked.input_estimate, 0) if asked.hour_cache else (0, asked.input_estimate)
    read = Usage(cache_write_tokens=five, cache_write_1h_tokens=hour)
    all_of_it = Usage(cache_write_tokens=five, cache_write_1h_tokens=hour, output_tokens=asked.max_tokens)
    floor = price(asked.model, read, fast=asked.fast)
    full = price(asked.model, all_of_it, fast=asked.fast)
    if floor is None or full is None:
        return None
    return Need(floor=Amount(usd=floor, tokens=read.tokens), full=Amount(usd=full, tokens=all_of_it.tokens))


def tokens_only(asked: Asked) -> Need:
    """The need of a request whose price is not known."""
    return Need(floor=Amount(tokens=asked.input_estimate), full=Amount(tokens=asked.input_estimate + asked.max_tokens))


def _allowed(model: str, models: frozenset[str] | None) -> bool:
    if models is None:
        return True
    names = {model_id(name) for name in models}
    return model_id(model) in names or undated(model) in names


def _malformed(message: str) -> No:
    return No(Refusal.NOT_ALLOWED, message, kind="invalid_request_error")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _offences(data: dict[str, Any]) -> Iterator[str]:
    """Iterates over everything in a request that reaches beyond the conversation, named for people."""
    for field in ("mcp_servers", "container"):
        if data.get(field):
            yield f"`{field}`"
    for tool in _tools(data):
        kind = tool.get("type")
        if kind is not None and kind not in _PLAIN_TOOLS and not str(kind).startswith(_CLIENT_TOOLS):
            yield f"the server tool {str(kind)[:100]!r}"
    for block in _blocks(data):
        source = block.get("source")
        kind = source.get("type") if isinstance(source, dict) else None
        if isinstance(source, dict) and kind not in _SOURCES:
            yield f"a source of type {str(kind)[:100]!r}"
        if "file_id" in block or block.get("type") == "container_upload":
            yield "a file id"


def _fallback_offence(data: dict[str, Any], models: frozenset[str] | None) -> str | None:
    """Models that the API may turn to by itself must be the run's, too."""
    fallbacks = data.get("fallbacks")
    if models is None or not fallbacks:
        return None
    names = [item.get("model") if isinstance(item, dict) else None for item in _list(fallbacks)]
    if names and all(isinstance(name, str) and _allowed(name, models) for name in names):
        return None
    return "`fallbacks` to a model that is not one of this run's"


def _tools(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Iterates over every tool on offer: the request's and those that come in with a message or a `tool_addition`."""
    blocks = list(_blocks(data))
    added = [block["tool"] for block in blocks if isinstance(block.get("tool"), dict)]
    sources = [data, *blocks, *(message for message in _list(data.get("messages")) if isinstance(message, dict))]
    listed = [tool for source in sources for tool in _list(source.get("tools"))]
    for tool in (*listed, *added):
        if isinstance(tool, dict):
            yield tool
            if isinstance(tool.get("definition"), dict):
                yield tool["definition"]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _blocks(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Iterates over every content block: the system's, the messages', and those inside tool results and documents."""
    yield from _content(data.get("system"), _DEPTH)
    for message in _list(data.get("messages")):
        if isinstance(message, dict):
            yield from _content(message.get("content"), _DEPTH)


def _content(content: Any, depth: int) -> Iterator[dict[str, Any]]:
    for block in _list(content):
        if not isinstance(block, dict):
            continue
        yield block
        if depth:
            yield from _content(block.get("content"), depth - 1)
            source = block.get("source")
            if isinstance(source, dict):
                yield from _content(source.get("content"), depth - 1)
