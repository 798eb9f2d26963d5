"""The scripted model: what a script may say, and how it plays."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import pytest
import yaml
from gateway_support import Bench, gateway, request

from claude_flow_dagger.errors import InvalidScript
from claude_flow_dagger.gateway.script.conversation import view
from claude_flow_dagger.gateway.script.load import load_script, parse_script
from claude_flow_dagger.gateway.script.model import script_schema
from claude_flow_dagger.gateway.script.upstream import ScriptUpstream
from claude_flow_dagger.result import Refusal
from claude_flow_dagger.yamlfile import MAX_BYTES

ROOT = Path(__file__).parents[2]


def play(script: str, use: Any, **more: Any) -> Bench:
    """Serve a script, use it, and return the bench for its ledger."""

    async def body() -> Bench:
        up = ScriptUpstream(parse_script(script, name="test.yaml"), name="test.yaml")
        async with gateway(up, **more) as bench:
            await use(bench)
        return bench

    return asyncio.run(body())


def ask(*blocks: Any, **more: Any) -> dict[str, Any]:
    return request(messages=[{"role": "user", "content": list(blocks) or "hello"}], **more)


def result(text: str) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    return {"type": "tool_result", "tool_use_id": "t", "content": content}


def events(response: httpx2.Response) -> list[dict[str, Any]]:
    found = []
    for part in response.text.split("\n\n"):
        if part:
            name, data = part.split("\n")
            parsed = json.loads(data.removeprefix("data: "))
            assert name == f"event: {parsed['type']}"
            found.append(parsed)
    return found


def message_of(stream: list[dict[str, Any]]) -> dict[str, Any]:
    """Put a stream together the way the client library does."""
    message = stream[0]["message"]
    partial: dict[int, str] = {}
    for event in stream[1:]:
        match event:
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert index == len(message["content"])
                message["content"].append(block)
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                block = message["content"][index]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "input_json_delta":
                        partial[index] = partial.get(index, "") + delta["partial_json"]
            case {"type": "content_block_stop", "index": index} if index in partial:
                message["content"][index]["input"] = json.loads(partial[index])
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                message.update(delta)
                message["usage"] = usage
    assert stream[-1] == {"type": "message_stop"}
    return message


RICH = """
version: 1
turns:
  - thinking: Let me see what there is.
    text: "I look, é ☃ 😀, twice."
    tools:
      - {name: Bash, input: {command: "printf 'a\\"b'", nested: {list: [1, 2.5, null, true]}}}
      - name: Read
    chunk_chars: 3
    usage: {input: 1000, output: 50, cache_read: 7, cache_write: 5, cache_write_1h: 3}
    repeat: 2
  - {text: "", stop: max_tokens}
"""


def test_a_stream_says_the_same_as_an_answer_in_one_piece() -> None:
    async def use(bench: Bench) -> None:
        stream = events(await bench.post(ask(stream=True)))
        assert [event["type"] for event in stream[:2]] == ["message_start", "ping"]
        streamed = message_of(stream)
        whole = (await bench.post(ask(stream=False))).json()
        assert streamed["content"][2]["id"] != whole["content"][2]["id"]
        for message in (streamed, whole):
            message.pop("id")
            for block in message["content"]:
                block.pop("id", None)
        assert streamed == whole
        assert whole["stop_reason"] == "tool_use"
        assert [block["type"] for block in whole["content"]] == ["thinking", "text", "tool_use", "tool_use"]
        assert whole["content"][2]["input"] == {"command": "printf 'a\"b'", "nested": {"list": [1, 2.5, None, True]}}
        assert whole["content"][3]["input"] == {}
        last = message_of(events(await bench.post(ask(stream=True))))
        assert (last["stop_reason"], last["content"]) == ("max_tokens", [{"type": "text", "text": ""}])

    bench = play(RICH, use)
    for entry in bench.entries[:2]:
        assert (entry.input_tokens, entry.output_tokens, entry.cache_read_tokens) == (1000, 50, 7)
        assert (entry.cache_write_tokens, entry.cache_write_1h_tokens) == (5, 3)
    assert bench.entries[2].input_tokens == len(json.dumps(ask(stream=True))) // 4


def test_the_end_of_the_script_is_a_refusal_that_says_so() -> None:
    async def use(bench: Bench) -> None:
        assert (await bench.post()).status_code == 200
        for _ in range(2):
            response = await bench.post()
            assert response.status_code == 403
            message = response.json()["error"]["message"]
            assert "test.yaml has ended" in message
            assert "1 turn," in message

    bench = play("{version: 1, turns: [{text: hi}]}", use)
    assert bench.gateway.ledger().refusals == {Refusal.SCRIPT_ENDED: 2}
    assert bench.gateway.ledger().last_status == 200


@pytest.mark.parametrize(
    ("error", "status", "kind", "retry"),
    [
        ("{status: 429, retry_after: 1.5, message: slow down}", 429, "rate_limit_error", "1.5"),
        ("{status: 500}", 500, "api_error", None),
        ("{status: 529}", 529, "overloaded_error", None),
        ("{status: 401}", 401, "authentication_error", None),
        ("{status: 403}", 403, "permission_error", None),
        ("{status: 418, type: billing_error}", 418, "billing_error", None),
    ],
)
def test_errors(error: str, status: int, kind: str, retry: str | None) -> None:
    async def use(bench: Bench) -> None:
        response = await bench.post()
        assert response.status_code == status
        assert response.json()["error"]["type"] == kind
        assert response.headers.get("retry-after") == retry
        assert (await bench.post()).status_code == 200

    bench = play(f"{{version: 1, turns: [{{error: {error}}}, {{text: fine}}]}}", use)
    assert (bench.entries[0].status, bench.entries[0].error, bench.entries[0].refusal) == (status, kind, None)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("cut", ["{after_events: 3}", "{after_events: 0}", "{after_bytes: 30}", "{after_bytes: 0}"])
def test_cuts(cut: str, stream: bool) -> None:
    async def use(bench: Bench) -> None:
        headers = {"x-api-key": bench.token}
        got = b""

        async def read() -> None:
            nonlocal got
            async with bench.client.stream("POST", "/v1/messages", json=ask(stream=stream), headers=headers) as answer:
                async for chunk in answer.aiter_raw():
                    got += chunk

        with pytest.raises(httpx2.RemoteProtocolError):
            await read()
        if stream:
            assert got.count(b"event: ") == {"{after_events: 3}": 3, "{after_bytes: 30}": 1}.get(cut, 0)
        assert (await bench.post()).status_code == 200
        assert bench.entries[0].cut
        assert bench.entries[0].estimated

    play(f"{{version: 1, turns: [{{text: hello, cut: {cut}}}, {{text: whole}}]}}", use)


def test_a_cut_after_the_end_still_closes_the_connection() -> None:
    async def use(bench: Bench) -> None:
        with pytest.raises(httpx2.RemoteProtocolError):
            await bench.post()

    play("{version: 1, turns: [{text: hello, cut: {after_events: 1000}}]}", use)


def test_delays() -> None:
    async def use(bench: Bench) -> None:
        began = time.monotonic()
        await bench.post()
        assert time.monotonic() - began >= 0.2 + 6 * 0.02
        assert bench.entries[0].first_byte_ms is not None
        assert bench.entries[0].first_byte_ms >= 200

    play("{version: 1, turns: [{text: x, delay: 0.2, chunk_delay: 0.02s}]}", use)


TALKS = """
version: 1
conversations:
  - name: helper
    when: {first_user: {contains: PINEAPPLE, absent: banana}}
    turns: [{text: from the helper}]
  - name: small
    when: {model: {matches: haiku}, system: brief, lacks_tool: Bash}
    turns: [{text: from the small}]
    loop: true
  - name: results
    when: {last_tool_result: "ok"}
    turns:
      - {text: one}
      - {text: two, expect: {last_user: {matches: "^pl.*se$"}, has_tool: Bash}}
  - name: rest
    when: {any_text: anything}
    turns: [{text: rest}, {text: again, repeat: 2}]
    loop: true
"""


def test_conversations_are_picked_by_what_was_said() -> None:
    async def use(bench: Bench) -> None:
        async def said(body: dict[str, Any]) -> str:
            response = await bench.post({**body, "stream": False})
            if response.status_code != 200:
                return str(response.json()["error"]["message"])
            return str(response.json()["content"][0]["text"])

        text = {"type": "text", "text": "please"}
        assert await said(ask({"type": "text", "text": "a PINEAPPLE"})) == "from the helper"
        assert "conversation 'helper'" in await said(ask({"type": "text", "text": "a PINEAPPLE"}))
        small = ask(model="claude-haiku-4-5", system=[{"type": "text", "text": "be brief"}])
        assert await said(small) == await said(small) == "from the small"
        assert await said(ask(result("all ok"))) == "one"
        wrong = await said(ask(result("all ok")))
        assert "turn 2 of conversation 'results' expects another `last_user` than ''" in wrong
        wrong = await said(ask(result("all ok"), text, tools=[{"name": "Read"}]))
        assert "expects another `has_tool` than 'Read'" in wrong
        assert await said(ask(result("all ok"), text, tools=[{"name": "Bash"}])) == "two"
        rest = ask({"type": "text", "text": "anything"})
        assert [await said(rest) for _ in range(4)] == ["rest", "again", "again", "rest"]
        nothing = await said(ask({"type": "text", "text": "a PINEAPPLE and a banana"}))
        assert "has no conversation for this request ('helper', 'small', 'results', 'rest')" in nothing

    play(TALKS, use)


def test_counting_takes_no_turn() -> None:
    async def use(bench: Bench) -> None:
        counted = await bench.post(ask(), "/v1/messages/count_tokens")
        assert counted.json() == {"input_tokens": len(json.dumps(ask())) // 4}
        assert (await bench.post()).status_code == 200

    play("{version: 1, turns: [{text: hi}]}", use)


def test_texts_of_odd_requests() -> None:
    seen = view(
        {
            "system": "sys",
            "messages": [
                "odd",
                {"role": "user", "content": "first"},
                {"role": "assistant", "content": [{"type": "tool_use", "name": "Bash", "input": {"a": "é"}}, 5]},
                {"role": "user", "content": [{"type": "tool_result", "content": "plain"}, {"type": "image"}]},
            ],
            "tools": [{"no": "name"}, 3],
        }
    )
    assert (seen.system, seen.first_user, seen.last_user, seen.last_tool_result) == ("sys", "first", "first", "plain")
    assert 'Bash {"a": "é"}' in seen.any_text
    assert view({}).any_text == ""


WRONG = [
    ("", "is empty"),
    ("turns: [", ":2:1: not valid YAML"),
    ("a: 1\n\tb: 2", ":2:1:"),
    ("version: 1\nturns:\n  - text: a\n    txet: b", ":4:5: turns.0.txet: unknown field"),
    ("version: 1\nturns:\n  - text: a\n    text: b", ":4:5: not valid YAML: the key 'text' is there twice"),
    ("version: 2\nturns: [{text: a}]", ":1:1: version"),
    ("version: 1", ":1:1: a script needs either `turns` or `conversations`"),
    ("version: 1\nturns: [{text: a}]\nconversations: [{name: x, turns: [{text: a}]}]", "needs either"),
    ("version: 1\nturns:\n  - {}", ":3:5: turns.0: a turn needs either"),
    ("version: 1\nturns:\n  - {text: a, error: {status: 500}}", "needs either"),
    ("version: 1\nturns:\n  - {error: {status: 500}, cut: {after_events: 1}}", "has no `cut`"),
    ("version: 1\nturns:\n  - error: {status: 200}", ":3:13: turns.0.error.status"),
    ("version: 1\nturns:\n  - text: a\n    cut: {}", ":4:5: turns.0.cut: a cut needs"),
    ("version: 1\nturns:\n  - text: a\n    delay: soon", ":4:5: turns.0.delay: 'soon' is not a duration"),
    ("version: 1\nturns:\n  - text: a\n    expect: {last_user: {matches: '('}}", "is no regular expression"),
    ("version: 1\nturns:\n  - text: a\n    expect: {last_user: {}}", "a condition needs"),
    ("version: 1\nturns:\n  - text: a\n    repeat: 0", ":4:5: turns.0.repeat"),
    (
        "version: 1\nconversations:\n- {name: x, turns: [{text: a}]}\n- {name: x, turns: [{text: a}]}",
        "'x' is used twice",
    ),
    ("&a [*a]", "contains itself"),
    ("[1, 2]", ":1:1: should be a valid dictionary"),
    ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ("version: 2026-13-45\nturns: []", "not valid YAML: month must be in 1..12"),
    ("a: \x00", "not valid YAML: unacceptable character"),
    ("? [1]\n: 2", "found unhashable key"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "script.yaml"
    path.write_text(text)
    with pytest.raises(InvalidScript) as caught:
        load_script(path)
    assert caught.value.message.startswith(f"{path}:")
    assert said in caught.value.message
    assert caught.value.cure


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InvalidScript, match="no such file"):
        load_script(tmp_path / "missing.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"text: \xe9")
    with pytest.raises(InvalidScript, match="not UTF-8 at byte 6"):
        load_script(tmp_path / "latin.yaml")
    (tmp_path / "long.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InvalidScript, match="is over 16 MiB"):
        load_script(tmp_path / "long.yaml")


def test_the_published_schema_is_the_models() -> None:
    published = json.loads((ROOT / "schemas" / "model-script.schema.json").read_text())
    assert published == script_schema()
    for good in (RICH, TALKS):
        jsonschema.validate(yaml.safe_load(good), published)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"version": 1, "turns": [{"txet": "a"}]}, published)


def test_every_script_in_the_documentation_loads() -> None:
    text = (ROOT / "docs" / "model-script.md").read_text()
    blocks = [part.split("```")[0] for part in text.split("```yaml\n")[1:]]
    assert len(blocks) >= 3
    for number, block in enumerate(blocks):
        parse_script(block, name=f"block {number}")
