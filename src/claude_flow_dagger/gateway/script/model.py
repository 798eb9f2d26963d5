"""A model script as data. The field's texts are also the JSON Schema's."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from claude_flow_dagger.job import Seconds

SCRIPT_VERSION: Final = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class StopReason(StrEnum):
    """Why a reply ended."""

    END_TURN = "end_turn"
    TOOL_USE = "tool_use"
    MAX_TOKENS = "max_tokens"
    STOP_SEQUENCE = "stop_sequence"
    REFUSAL = "refusal"
    PAUSE_TURN = "pause_turn"


class TextMatch(_Part):
    """A condition on a text: everything named must hold. A bare string is short for `contains`."""

    contains: str | None = None
    """The text contains this, letter for letter."""
    matches: str | None = None
    """This regular expression (Python's) is found in the text; `.` matches line ends too."""
    absent: str | None = None
    """The text does not contain this."""

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _says_something(self) -> TextMatch:
        if self.contains is None and self.matches is None and self.absent is None:
            raise ValueError("a condition needs `contains`, `matches` or `absent`")
        return self

    def holds(self, text: str) -> bool:
        """Whether the text fulfils the condition."""
        return (
            (self.contains is None or self.contains in text)
            and (self.matches is None or re.search(self.matches, text, re.DOTALL) is not None)
            and (self.absent is None or self.absent not in text)
        )


def _short_match(value: Any) -> Any:
    return {"contains": value} if isinstance(value, str) else value


Match = Annotated[TextMatch, BeforeValidator(_short_match, json_schema_input_type=str | TextMatch)]


class Condition(_Part):
    """A condition on a request: everything named must hold."""

    model: Match | None = None
    """The model's name."""
    system: Match | None = None
    """The system prompt."""
    first_user: Match | None = None
    """The text of the first user message."""
    last_user: Match | None = None
    """The text of the last user message, tool results left out."""
    last_tool_result: Match | None = None
    """The text of the last tool result in the last message; empty when there is none."""
    any_text: Match | None = None
    """Any text of the request: system prompt, messages, tool calls and results."""
    has_tool: str | None = None
    """The request offers a tool of this name."""
    lacks_tool: str | None = None
    """The request offers no tool of this name. Claude Code's subagents have `Agent` too: tell them by `first_user`."""


class ToolCall(_Part):
    """One use of a tool."""

    name: str = Field(min_length=1)
    """As Claude Code calls it: `Bash`, `Edit`, `mcp__claude-flow__memory_store`."""
    input: dict[str, Any] = {}
    """The tool's arguments."""


class Tokens(_Part):
    """What the reply says it used. Without it: a quarter of the request's and of the reply's bytes."""

    input: int = Field(default=0, ge=0)
    output: int = Field(default=0, ge=0)
    cache_read: int = Field(default=0, ge=0)
    cache_write: int = Field(default=0, ge=0)
    """Cache writes of five minutes."""
    cache_write_1h: int = Field(default=0, ge=0)


class ErrorKind(StrEnum):
    """Error types of the Messages API."""

    INVALID_REQUEST = "invalid_request_error"
    AUTHENTICATION = "authentication_error"
    BILLING = "billing_error"
    PERMISSION = "permission_error"
    NOT_FOUND = "not_found_error"
    TOO_LARGE = "request_too_large"
    RATE_LIMIT = "rate_limit_error"
    TIMEOUT = "timeout_error"
    API = "api_error"
    OVERLOADED = "overloaded_error"


_KIND_OF: Final = {
    400: ErrorKind.INVALID_REQUEST,
    401: ErrorKind.AUTHENTICATION,
    402: ErrorKind.BILLING,
    403: ErrorKind.PERMISSION,
    404: ErrorKind.NOT_FOUND,
    413: ErrorKind.TOO_LARGE,
    429: ErrorKind.RATE_LIMIT,
    504: ErrorKind.TIMEOUT,
    529: ErrorKind.OVERLOADED,
}


class Failure(_Part):
    """An error instead of a reply."""

    status: int = Field(ge=400, le=599)
    """The HTTP status, such as 401, 403, 429, 500 or 529."""
    type: ErrorKind | None = None
    """The error's type; by default the one that goes with the status."""
    message: str = "the script says so"
    retry_after: float | None = Field(default=None, ge=0)
    """Seconds, sent as `retry-after`."""

    @property
    def kind(self) -> ErrorKind:
        """The type that is sent."""
        return self.type or _KIND_OF.get(self.status, ErrorKind.API)


class Cut(_Part):
    """Break the reply off and close the connection. One in one piece is cut in its middle by `after_events`."""

    after_events: int | None = Field(default=None, ge=0)
    """Server-sent events that still go out whole."""
    after_bytes: int | None = Field(default=None, ge=0)
    """Bytes of the body that still go out."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Cut:
        if (self.after_events is None) == (self.after_bytes is None):
            raise ValueError("a cut needs either `after_events` or `after_bytes`")
        return self


class Turn(_Part):
    """What the model answers to one request: text, thinking and tool calls, or an error."""

    text: str | None = None
    thinking: str | None = None
    """Sent before the text."""
    tools: tuple[ToolCall, ...] = ()
    """Sent after the text, all in one reply."""
    stop: StopReason | None = None
    """By default `tool_use` with tools and `end_turn` without."""
    usage: Tokens | None = None
    error: Failure | None = None
    cut: Cut | None = None
    delay: Seconds | None = None
    """Before the reply's first byte."""
    chunk_delay: Seconds | None = None
    """Before every further event of a stream."""
    chunk_chars: int = Field(default=200, ge=1)
    """Characters of text, thinking or tool input in one event."""
    repeat: int = Field(default=1, ge=1, le=1_000_000)
    """How many requests in a row get this answer."""
    expect: Condition | None = None
    """The request must fulfil this, else it is refused with a message that names the turn, and the turn stays."""

    @model_validator(mode="after")
    def _answers(self) -> Turn:
        replies = self.text is not None or self.thinking is not None or bool(self.tools)
        if replies == (self.error is not None):
            raise ValueError("a turn needs either `error` or some of `text`, `thinking` and `tools`")
        if self.error is not None and (self.cut or self.usage or self.stop or self.chunk_delay):
            raise ValueError("a turn with `error` has no `cut`, `usage`, `stop` or `chunk_delay`")
        return self


class Conversation(_Part):
    """The turns for those requests that `when` picks."""

    name: str = Field(min_length=1, max_length=200)
    when: Condition = Condition()
    """Which requests; without it, all. The first conversation that fits answers, even if it has no turn left."""
    turns: tuple[Turn, ...] = Field(min_length=1)
    """Answers, one after the other."""
    loop: bool = False
    """After the last turn comes the first again."""


class Script(_Part):
    """A scripted model: either `turns`, or several `conversations`."""

    version: Literal[1] = SCRIPT_VERSION
    description: str | None = None
    """For people."""
    turns: tuple[Turn, ...] = ()
    """Short for one conversation that answers everything."""
    conversations: tuple[Conversation, ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Script:
        if bool(self.turns) == bool(self.conversations):
            raise ValueError("a script needs either `turns` or `conversations`")
        names = [conversation.name for conversation in self.conversations]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"conversations: the name {twice[0]!r} is used twice")
        return self

    @property
    def all_conversations(self) -> tuple[Conversation, ...]:
        """The conversations, with `turns` written out."""
        return self.conversations or (Conversation(name="main", turns=self.turns),)


def script_schema() -> dict[str, Any]:
    """The JSON Schema of a model script; the repository has it as `schemas/model-script.schema.json`."""
    schema = Script.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "claude-flow-dagger model script",
    }
