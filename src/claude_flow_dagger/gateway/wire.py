"""The gateway's side of HTTP: what may be asked, which headers pass, how it says no. Pure."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from claude_flow_dagger.result import Refusal

Headers = tuple[tuple[bytes, bytes], ...]
"""Names in lower case, in the order they came, repeated where they were."""

MAX_BODY: Final = 64 << 20
"""Bytes of the longest request."""


class Endpoint(Enum):
    """Everything that the gateway answers; the value is the method and the exact path."""

    MESSAGES = ("POST", b"/v1/messages")
    COUNT_TOKENS = ("POST", b"/v1/messages/count_tokens")
    HELLO = ("HEAD", b"/api/hello")

    @property
    def path(self) -> str:
        """The path, which is also the upstream's."""
        return self.value[1].decode()


_QUERIES: Final = frozenset({b"", b"beta=true"})
"""Claude Code asks for `/v1/messages?beta=true`; the API knows no other query here."""


def endpoint_of(method: str, raw_path: bytes, query: bytes) -> Endpoint | None:
    """The endpoint of a request line; None for everything else.

    The path is compared as it was sent. What only becomes an endpoint after decoding (`%2f`), resolving (`..`) or
    cutting (`;x`, `//`, an absolute address) is none.
    """
    if query not in _QUERIES:
        return None
    return next((known for known in Endpoint if known.value == (method, raw_path)), None)


@dataclass(frozen=True, repr=False)
class RunToken:
    """What a sandbox shows to the gateway: 256 random bits, worth nothing anywhere else.

    Args:
        value: at least 32 characters of visible ASCII.

    Raises:
        ValueError: a value that could be guessed or that no header can carry.
    """

    value: str

    def __post_init__(self) -> None:
        if len(self.value) < 32 or not all("!" <= char <= "~" for char in self.value):
            raise ValueError("a gateway token is at least 32 characters of visible ASCII without blanks")

    def __repr__(self) -> str:
        return "RunToken(…)"

    @classmethod
    def generate(cls) -> RunToken:
        """A new one."""
        return cls(secrets.token_urlsafe(32))

    def opens(self, headers: Headers) -> bool:
        """Whether the headers carry this token, as `x-api-key` or as a bearer; every wrong one takes the same time."""
        expected = self.value.encode()
        shown = [value for name, value in headers if name == b"x-api-key"]
        for name, value in headers:
            scheme, _, token = value.partition(b" ")
            if name == b"authorization" and scheme.lower() == b"bearer":
                shown.append(token.strip())
        return any([hmac.compare_digest(expected, value) for value in shown])  # noqa: C419 - all of them, always


_SENT_ON: Final = ("anthropic-", "x-stainless-", "x-claude-")
_SENT_ON_EXACT: Final = frozenset({"accept", "content-type", "user-agent", "x-app", "idempotency-key"})


def request_headers(headers: Headers) -> list[tuple[str, str]]:
    """The headers of a sandbox's request that go on to the upstream: an allow-list, without any credential."""
    passed = []
    for raw_name, raw_value in headers:
        name = raw_name.decode("latin-1").lower()
        if name in _SENT_ON_EXACT or name.startswith(_SENT_ON):
            passed.append((name, raw_value.decode("latin-1")))
    return passed


_HOP_BY_HOP: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"}
    | {"te", "trailer", "transfer-encoding", "upgrade"}
)
_NOT_FOR_SANDBOXES: Final = frozenset({"set-cookie", "alt-svc", "strict-transport-security"})


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of an upstream's answer that go back: all but those of the connection itself and its cookies."""
    listed = [(name.lower(), value) for name, value in headers]
    named = {
        token.strip().lower()
        for name, value in listed
        if name == b"connection"
        for token in value.decode("latin-1").split(",")
    }
    dropped = _HOP_BY_HOP | _NOT_FOR_SANDBOXES | named
    return tuple((name, value) for name, value in listed if name.decode("latin-1") not in dropped)


def header_map(headers: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Headers by lower-case name; the last of a repeated one wins."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def error_body(kind: str, message: str) -> bytes:
    """An error in the shape of the Messages API, which Claude Code prints as it is."""
    error = {"type": "error", "error": {"type": kind, "message": message}}
    return json.dumps(error, ensure_ascii=False).encode()


@dataclass(frozen=True)
class No:
    """A refusal by the gateway itself.

    Args:
        refusal: why, for the ledger.
        message: why, for the agent and for people.
        status: 403, since Claude Code gives up at once on it and on nothing else.
        kind: the error's type.
    """

    refusal: Refusal
    message: str
    status: int = 403
    kind: str = "permission_error"

    @property
    def body(self) -> bytes:
        """The answer's body."""
        return error_body(self.kind, f"claude-flow-dagger: {self.message}")
