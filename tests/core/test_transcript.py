"""Frames in, events and Claude Code's answer out; banners, forgeries and half lines included."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from claude_flow_dagger.runners.frames import Exited, Line, Noise, StepEnded, StepStarted, parse_frame
from claude_flow_dagger.transcript import MAX_LINE, MAX_OUTPUT, Said, Transcript, read_answer

RESULT = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "num_turns": 2,
    "result": "All done.",
    "session_id": "s",
    "api_error_status": None,
    "terminal_reason": "completed",
    "permission_denials": [{"tool_name": "Bash", "tool_use_id": "t", "tool_input": {"command": "id"}}],
}


def say(transcript: Transcript, record: dict[str, Any]) -> list[Said]:
    return list(transcript.feed(Line("main", 1, json.dumps(record))))


def test_speech_tools_and_results_become_events() -> None:
    transcript = Transcript()
    assert list(transcript.feed(StepStarted("main"))) == [Said("step", step="main")]
    content = [{"type": "text", "text": "Hi"}, {"type": "tool_use", "name": "Bash", "input": {"command": "ls"}}, 7]
    record = {"type": "assistant", "message": {"content": content}, "parent_tool_use_id": "toolu_1"}
    assert say(transcript, record) == [
        Said("text", "Hi", subagent=True),
        Said("tool", tool="Bash", input={"command": "ls"}, subagent=True),
    ]
    back = {"type": "tool_result", "content": [{"type": "text", "text": "a"}, {"type": "image"}], "is_error": True}
    assert say(transcript, {"type": "user", "message": {"content": [back]}}) == [
        Said("tool_result", "a", is_error=True)
    ]
    plain = {"type": "tool_result", "content": "b"}
    assert say(transcript, {"type": "user", "message": {"content": [plain]}}) == [
        Said("tool_result", "b", is_error=False)
    ]
    assert transcript.step("main").text() == ""


def test_the_result_event_is_found_among_banners() -> None:
    transcript = Transcript()
    for text in ("[INFO] Launching Claude Code...", "{not json", '{"type": "else"}', "[1]", "{}"):
        assert list(transcript.feed(Line("main", 1, text))) == [Said("output", text, step="main")]
    assert say(transcript, RESULT) == []
    answer = transcript.answer
    assert answer is not None
    assert (answer.is_error, answer.text, answer.turns) == (False, "All done.", 2)
    assert [(denial.tool, denial.input) for denial in answer.denials] == [("Bash", {"command": "id"})]


def test_a_result_event_counts_only_on_standard_output_of_the_main_step() -> None:
    transcript = Transcript()
    list(transcript.feed(Line("main", 2, json.dumps(RESULT))))
    list(transcript.feed(Line("memory-init", 1, json.dumps(RESULT))))
    assert transcript.answer is None


@given(
    st.dictionaries(st.sampled_from([*RESULT, "other"]), st.none() | st.integers() | st.text() | st.lists(st.none()))
)
def test_a_malformed_result_event_is_an_error_and_never_a_crash(fields: dict[str, Any]) -> None:
    answer = read_answer({**fields, "type": "result"})
    assert answer.is_error is (fields.get("is_error") is not False)


def test_parts_are_joined_and_long_lines_bounded() -> None:
    transcript = Transcript()
    assert list(transcript.feed(Line("main", 1, "ab", part=True))) == []
    assert list(transcript.feed(Line("main", 2, "other stream"))) == [Said("output", "other stream", step="main")]
    assert list(transcript.feed(Line("main", 1, "cd"))) == [Said("output", "abcd", step="main")]
    for _ in range(3):
        list(transcript.feed(Line("main", 1, "x" * (MAX_LINE // 2), part=True)))
    (said,) = transcript.feed(Line("main", 1, "end"))
    assert len(said.text) == MAX_LINE


def test_output_is_kept_up_to_a_bound_and_the_cut_is_told() -> None:
    transcript = Transcript()
    block = "x" * (4 << 20)
    for _ in range(MAX_OUTPUT // len(block) + 1):
        list(transcript.feed(Line("main", 1, block)))
    step = transcript.step("main")
    assert step.cut
    assert len(step.text()) <= MAX_OUTPUT + 10


def test_a_failed_preparation_is_named_only_when_the_main_step_never_ran() -> None:
    transcript = Transcript()
    for frame in (StepStarted("hive-init"), StepEnded("hive-init", 1), Exited(1)):
        list(transcript.feed(frame))
    assert (transcript.failed_step, transcript.exit_code) == ("hive-init", 1)
    list(transcript.feed(StepStarted("main")))
    assert transcript.failed_step is None
    assert transcript.step("unknown").code is None


def test_what_is_no_frame_is_noise() -> None:
    assert list(Transcript().feed(Noise("node: warning"))) == [Said("output", "node: warning")]


@given(st.binary())
def test_no_bytes_crash_the_parser(raw: bytes) -> None:
    assert parse_frame(raw) is not None


def test_frames_as_the_entrypoint_writes_them() -> None:
    assert parse_frame(b'{"frame":"start","step":"a"}\n') == StepStarted("a")
    assert parse_frame(b'{"frame":"line","step":"a","fd":2,"text":"x","part":true}\n') == Line("a", 2, "x", part=True)
    assert parse_frame(b'{"frame":"end","step":"a","code":3}\n') == StepEnded("a", 3)
    assert parse_frame(b'{"frame":"exit","code":0}\n') == Exited(0)
    assert parse_frame(b'{"frame":"line","step":"a","fd":"x"}\n') == Noise('{"frame":"line","step":"a","fd":"x"}')
