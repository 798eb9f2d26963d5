"""What a script's conditions look at: the texts of a request. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from claude_flow_dagger.gateway.script.model import Condition


@dataclass(frozen=True)
class View:
    """A request's texts.

    Args:
        model: the model's name.
        system: the system prompt.
        first_user: the first user message's text.
        last_user: the last user message's text.
        last_tool_result: the last tool result in the last message, or nothing.
        any_text: all of it, tool calls and results included.
        tools: the names of the tools on offer.
    """

    model: str
    system: str
    first_user: str
    last_user: str
    last_tool_result: str
    any_text: str
    tools: frozenset[str]

    def failing(self, condition: Condition) -> str | None:
        """The first part of a condition that doesn't hold, or None when all do."""
        for field in ("model", "system", "first_user", "last_user", "last_tool_result", "any_text"):
            match = getattr(condition, field)
            if match is not None and not match.holds(getattr(self, field)):
                return field
        if condition.has_tool is not None and condition.has_tool not in self.tools:
            return "has_tool"
        if condition.lacks_tool is not None and condition.lacks_tool in self.tools:
            return "lacks_tool"
        return None


def view(data: dict[str, Any]) -> View:
    """The texts of a request to the Messages API; whatever isn't shaped like one counts as nothing."""
    messages = [message for message in _list(data.get("messages")) if isinstance(message, dict)]
    users = [message for message in messages if message.get("role") == "user"]
    spoken = [text for message in users if (text := _text(message.get("content")))]
    results = [
        _text(block.get("content"))
        for block in _list(messages[-1].get("content") if messages else None)
        if isinstance(block, dict) and block.get("type") == "tool_result"
    ]
    everything = [_text(data.get("system")), *(_whole(message.get("content")) for message in messages)]
    tools = {tool["name"] for tool in _list(data.get("tools")) if isinstance(tool, dict) and "name" in tool}
    return View(
        model=str(data.get("model", "")),
        system=everything[0],
        first_user=spoken[0] if spoken else "",
        last_user=spoken[-1] if spoken else "",
        last_tool_result=results[-1] if results else "",
        any_text="\n".join(everything),
        tools=frozenset(str(name) for name in tools),
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(content: Any) -> str:
    """The text blocks of a content, which may also be a bare string."""
    if isinstance(content, str):
        return content
    return "\n".join(
        str(block.get("text", ""))
        for block in _list(content)
        if isinstance(block, dict) and block.get("type") == "text"
    )


def _whole(content: Any) -> str:
    """Every text of a content: what was said, called and answered."""
    if isinstance(content, str):
        return content
    parts = []
    for block in _list(content):
        if not isinstance(block, dict):
            continue
        match block.get("type"):
            case "text":
                parts.append(str(block.get("text", "")))
            case "tool_use":
                parts.append(f"{block.get('name')} {json.dumps(block.get('input'), ensure_ascii=False)}")
            case "tool_result":
                parts.append(_whole(block.get("content")))
    return "\n".join(parts)
