"""What a request may ask for, and what the gateway's HTTP lets through."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from claude_flow_dagger.gateway.policy import Asked, need_of, read_request, tokens_only
from claude_flow_dagger.gateway.wire import Endpoint, No, endpoint_of, response_headers
from claude_flow_dagger.result import Refusal

MODEL = "claude-sonnet-5-5"
PIXEL = {"type": "base64", "media_type": "image/png", "data": "A" * 3000}


def body(**more: Any) -> bytes:
    return json.dumps({"model": MODEL, "max_tokens": 100, "messages": [], **more}).encode()


def said(*blocks: Any, role: str = "user") -> bytes:
    return body(messages=[{"role": role, "content": list(blocks)}])


def read(raw: bytes, models: frozenset[str] | None = None, counting: bool = False) -> Asked | No:
    return read_request(raw, models=models, counting=counting)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"null",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"model": NaN}',
        b'{"model":"claude-sonnet-5-5","model":"claude-opus-5-5","max_tokens":1}',
        b'{"model":"claude-sonnet-5-5","max_tokens":1,"tools":[{"type":"custom","type":"web_fetch_20250910"}]}',
        json.dumps({"max_tokens": 1}).encode(),
        body(model=""),
        body(model=["a"]),
        body(max_tokens=None),
        body(max_tokens=0),
        body(max_tokens=-5),
        body(max_tokens=True),
        body(max_tokens=1.5),
        body(max_tokens=10**12),
        body(stream="yes"),
    ],
)
def test_malformed(raw: bytes) -> None:
    no = read(raw)
    assert isinstance(no, No)
    assert (no.refusal, no.status, no.kind) == (Refusal.NOT_ALLOWED, 403, "invalid_request_error")
    assert json.loads(no.body)["error"]["message"].startswith("claude-flow-dagger: the request")


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (body(mcp_servers=[{"type": "url", "url": "https://x"}]), "mcp_servers"),
        (body(container="c_1"), "container"),
        (body(container={"skills": []}), "container"),
        (body(tools=[{"type": "web_search_20250305", "name": "web_search"}]), "web_search_20250305"),
        (body(tools=[{"type": "web_fetch_20250910", "name": "web_fetch"}]), "web_fetch_20250910"),
        (body(tools=[{"name": "x"}, {"type": "code_execution_20250825"}]), "code_execution_20250825"),
        (body(tools=[{"type": "mcp_toolset", "mcp_server_name": "x"}]), "mcp_toolset"),
        (body(tools=[{"type": "advisor_20260301"}]), "advisor_20260301"),
        (body(tools=[{"type": 7}]), "7"),
        (
            said({"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"type": "web_fetch_x"}}}),
            "web_fetch_x",
        ),
        (said({"type": "tool_addition", "tool": {"type": "web_fetch_x"}}, role="system"), "web_fetch_x"),
        (body(messages=[{"role": "user", "content": "x", "tools": [{"type": "web_fetch_x"}]}]), "web_fetch_x"),
        (said({"type": "image", "source": {"type": "url", "url": "http://169.254.169.254/"}}), "url"),
        (said({"type": "document", "source": {"type": "file", "file_id": "f"}}), "file"),
        (said({"type": "document", "source": {}}), "None"),
        (said({"type": "container_upload", "file_id": "f"}), "file id"),
        (said({"type": "whatever", "file_id": "f"}), "file id"),
        (said({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]}), "url"),
        (
            said({"type": "document", "source": {"type": "content", "content": [{"source": {"type": "url"}}]}}),
            "url",
        ),
        (body(system=[{"type": "document", "source": {"type": "url"}}]), "url"),
    ],
)
def test_ways_out_are_refused_by_name(raw: bytes, named: str) -> None:
    for counting in (False, True):
        no = read(raw, counting=counting)
        assert isinstance(no, No)
        assert (no.refusal, no.kind) == (Refusal.NOT_ALLOWED, "permission_error")
        assert named in no.message


@pytest.mark.parametrize(
    "raw",
    [
        body(),
        body(mcp_servers=[], container=None, tools=None, stream=None),
        body(tools=[{"name": "Bash", "input_schema": {"type": "object"}}, {"type": "custom", "name": "x"}]),
        body(tools=[{"type": "bash_20250124"}, {"type": "tool_search_tool_regex_20251119"}, "odd"]),
        said("odd", {"type": "image", "source": PIXEL}, {"type": "text", "text": "see https://x"}),
        said({"type": "tool_use", "input": {"source": {"type": "url"}, "file_id": "mine"}}, role="assistant"),
        said({"type": "tool_addition", "tool": {"type": "tool_reference", "name": "x"}}, role="system"),
        body(messages=["odd", {"role": "user", "content": None}], fallbacks=[{"model": "claude-opus-5-5"}]),
    ],
)
def test_ordinary_requests_pass(raw: bytes) -> None:
    assert isinstance(read(raw), Asked)


def test_only_the_runs_models() -> None:
    allowed = frozenset({"claude-sonnet-5-5[1m]", "claude-haiku-4-5"})
    for name in ("claude-sonnet-5-5", "claude-sonnet-5-5[1m]", "claude-haiku-4-5-20251001", "claude-haiku-4-5"):
        assert isinstance(read(body(model=name), allowed), Asked)
    for name in ("claude-opus-5-5", "claude-sonnet-5-5x", "CLAUDE-SONNET-5-5", "claude-sonnet-5-5 "):
        no = read(body(model=name), allowed)
        assert isinstance(no, No)
        assert "claude-haiku-4-5, claude-sonnet-5-5[1m]" in no.message


@pytest.mark.parametrize(
    ("fallbacks", "passes"),
    [
        ([{"model": "claude-haiku-4-5"}], True),
        ([], True),
        ("default", False),
        ([{"model": "claude-opus-5-5"}], False),
        ([{"model": "claude-haiku-4-5"}, {"model": "claude-opus-5-5"}], False),
        ([{}], False),
        (["claude-haiku-4-5"], False),
    ],
)
def test_the_api_may_only_fall_back_to_the_runs_models(fallbacks: Any, passes: bool) -> None:
    asked = read(body(fallbacks=fallbacks), frozenset({MODEL, "claude-haiku-4-5"}))
    assert isinstance(asked, Asked) is passes


def test_counting_needs_no_max_tokens() -> None:
    raw = json.dumps({"model": MODEL, "messages": []}).encode()
    assert isinstance(read(raw, counting=True), Asked)
    assert isinstance(read(raw), No)


def test_estimates_are_on_the_high_side_and_images_are_cheap() -> None:
    text = read(said({"type": "text", "text": "x" * 30_000}))
    image = read(said({"type": "image", "source": {**PIXEL, "data": "A" * 3_000_000}}))
    document = read(
        said({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "A" * 30_000}})
    )
    assert isinstance(text, Asked)
    assert isinstance(image, Asked)
    assert isinstance(document, Asked)
    assert 10_000 <= text.input_estimate < 10_200
    assert 5_000 <= image.input_estimate < 5_200
    assert document.input_estimate >= 10_000


def test_needs() -> None:
    plain = read(body())
    assert isinstance(plain, Asked)
    need = need_of(plain)
    assert need is not None
    size = plain.input_estimate
    assert need.floor.tokens == size
    assert need.full.tokens == size + 100
    # Input as it may come dearest: written to the cache.
    assert need.floor.usd == size * Decimal("2.5") / 10**6
    assert need.full.usd - need.floor.usd == Decimal("0.001")
    hour = read(body(system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]))
    assert isinstance(hour, Asked)
    dear = need_of(hour)
    assert dear is not None
    assert dear.floor.usd == hour.input_estimate * Decimal(4) / 10**6
    unknown = read(body(model="glm-5"))
    assert isinstance(unknown, Asked)
    assert need_of(unknown) is None
    assert tokens_only(unknown).full.tokens == unknown.input_estimate + 100


def test_endpoints() -> None:
    assert endpoint_of("POST", b"/v1/messages", b"beta=true") is Endpoint.MESSAGES
    assert endpoint_of("HEAD", b"/api/hello", b"") is Endpoint.HELLO
    assert endpoint_of("post", b"/v1/messages", b"") is None
    assert endpoint_of("POST", b"/v1/messages", b"beta=false") is None


def test_response_headers() -> None:
    raw = [(b"Connection", b"X-One, close"), (b"X-One", b"1"), (b"X-Two", b"2"), (b"Transfer-Encoding", b"chunked")]
    assert response_headers([*raw, (b"Set-Cookie", b"a=b")]) == ((b"x-two", b"2"),)
