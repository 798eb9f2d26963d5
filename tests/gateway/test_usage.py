"""Tokens are read out of answers, however these are cut into pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_flow_dagger.gateway.usage import (
    MAX_EVENT,
    BlindReader,
    JsonReader,
    SseReader,
    Usage,
    reader_for,
    reserved_usage,
    usage_of,
)

START = {
    "type": "message_start",
    "message": {
        "usage": {
            "input_tokens": 10,
            "output_tokens": 1,
            "cache_read_input_tokens": 5,
            "cache_creation_input_tokens": 7,
            "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
        }
    },
}
DELTA = {
    "type": "message_delta",
    "delta": {"stop_reason": "end_turn"},
    "usage": {"output_tokens": 42, "cache_creation_input_tokens": 7},
}
TEXT = {
    "type": "content_block_delta",
    "delta": {"type": "text_delta", "text": 'fake "usage": {"input_tokens": 9}\n\ndata: {"type":"message_stop"} é'},
}
STOP = {"type": "message_stop"}
EXPECTED = Usage(input_tokens=10, output_tokens=42, cache_read_tokens=5, cache_write_tokens=3, cache_write_1h_tokens=4)


def stream(*events: dict[str, object], end: str = "\n") -> bytes:
    return "".join(
        f"event: {event['type']}{end}data: {json.dumps(event, ensure_ascii=False)}{end}{end}" for event in events
    ).encode()


@given(st.lists(st.integers(1, 700), max_size=20), st.sampled_from(["\n", "\r\n", "\r"]))
def test_any_chunking_and_line_end(cuts: list[int], end: str) -> None:
    data = stream(START, {"type": "ping"}, TEXT, DELTA, STOP, end=end)
    points = [0, *sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    reader = SseReader()
    for begin, stop in itertools.pairwise(points):
        reader.feed(data[begin:stop])
    assert reader.complete
    assert reader.usage == EXPECTED
    assert not reader.cut_short


def test_every_byte_on_its_own() -> None:
    reader = SseReader()
    for byte in stream(START, DELTA, end="\r\n"):
        reader.feed(bytes([byte]))
        reader.feed(b"")
    assert reader.usage == EXPECTED


def test_a_stream_that_breaks_off_keeps_what_it_said() -> None:
    reader = SseReader()
    reader.feed(stream(START, TEXT))
    assert not reader.complete
    assert reader.cut_short
    assert reader.usage is not None
    assert reader.usage.input_tokens == 10


def test_an_error_in_the_stream_is_named() -> None:
    reader = SseReader()
    reader.feed(stream(START, {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}))
    assert reader.error == "overloaded_error"
    assert not reader.complete


def test_stop_without_usage_is_whole_but_tells_nothing() -> None:
    reader = SseReader()
    reader.feed(stream(STOP))
    assert not reader.cut_short
    assert not reader.complete


def test_data_on_several_lines_and_garbage() -> None:
    reader = SseReader()
    reader.feed(b'data: {"usage" broken\n\n: comment\n\nid: 3\n')
    reader.feed(b'data: {"type": "message_delta",\ndata: "delta": {"stop_reason": "end_turn"},\n')
    reader.feed(b'data: "usage": {"input_tokens": 1, "output_tokens": 2}}\n\n')
    assert reader.usage == Usage(input_tokens=1, output_tokens=2)


def test_an_endless_line_is_not_kept() -> None:
    reader = SseReader()
    for _ in range(10):
        reader.feed(b"x" * (MAX_EVENT // 4))
    assert len(reader._line) <= MAX_EVENT
    reader.feed(b"\n\n" + stream(START, DELTA))
    assert reader.usage == EXPECTED


def test_json_answers() -> None:
    reader = JsonReader()
    reader.feed(b'{"usage": {"input_tokens": 3, ')
    reader.feed(b'"output_tokens": 4}}')
    reader.end()
    assert reader.complete
    assert reader.usage == Usage(input_tokens=3, output_tokens=4)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"type":"error","error":{"type":"rate_limit_error","message":"m"}}', "rate_limit_error"),
        (b"not json", None),
        (b"[1]", None),
        (b'{"error": "text"}', None),
        (b"[" * 100_000, None),
    ],
)
def test_json_errors(body: bytes, error: str | None) -> None:
    reader = JsonReader()
    reader.feed(body)
    reader.end()
    assert reader.error == error
    assert not reader.complete


def test_readers_fit_their_headers() -> None:
    assert isinstance(reader_for({"content-type": "text/event-stream; charset=utf-8"}), SseReader)
    assert isinstance(reader_for({"content-type": "application/json"}), JsonReader)
    assert isinstance(reader_for({"content-encoding": "identity"}), JsonReader)
    blind = reader_for({"content-type": "text/event-stream", "content-encoding": "gzip"})
    assert isinstance(blind, BlindReader)
    blind.feed(b"x")
    blind.end()
    assert not blind.complete
    assert not blind.cut_short


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(input_tokens=1, output_tokens=2)),
        ({"cache_creation_input_tokens": 9}, Usage(cache_write_tokens=9)),
        (
            {"cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_1h_input_tokens": 4}},
            Usage(cache_write_tokens=5, cache_write_1h_tokens=4),
        ),
        ({"input_tokens": -5, "output_tokens": True, "cache_read_input_tokens": "7"}, Usage()),
        (None, None),
    ],
)
def test_usage_objects(raw: object, usage: Usage | None) -> None:
    assert usage_of(raw) == usage


def test_reservations() -> None:
    assert reserved_usage(None, input_tokens=3, output_tokens=4) == Usage(input_tokens=3, output_tokens=4)
    assert reserved_usage(Usage(input_tokens=9, output_tokens=6), input_tokens=3, output_tokens=4) == Usage(
        input_tokens=9, output_tokens=6
    )
    assert EXPECTED.tokens == 64
