"""What recorded answers are taken for."""

from __future__ import annotations

import pytest

from claude_flow_dagger.commands import CheckReply, FindingCode, Invocation, Line, Reply, believe, check, read_answer

from . import recorded


def asked(*argv: str, line: Line = Line.V3_43) -> Invocation:
    return check(argv, line)


def judged(
    invocation: Invocation, stdout: str, stderr: str = "", exit_code: int = 0, *checks: tuple[int, str, str]
) -> FindingCode:
    replies = [
        CheckReply(exit_code=code, reply=read_answer(invocation, out, err, code))
        for _, (code, out, err) in zip(invocation.checks, checks, strict=False)
    ]
    reply = read_answer(invocation, stdout, stderr, exit_code)
    return believe(invocation, exit_code, reply, replies).code


def test_json_is_cut_out_of_log_lines() -> None:
    reply = read_answer(asked("memory", "search", "-q", "hello", "--format", "json"), recorded.SEARCH, "", 0)
    assert reply.data == {"query": "hello", "searchType": "semantic", "results": [], "searchTime": "1258ms"}
    assert reply.text == recorded.SEARCH


@pytest.mark.parametrize("text", ["", "[INFO] only words\n", "{ broken\n", "[" * 100_000, '{"a":1}\nand more words\n'])
def test_what_is_no_json_document_is_no_data(text: str) -> None:
    invocation = asked("memory", "search", "-q", "x", "--format", "json")
    assert read_answer(invocation, text, "", 0).data is None
    assert judged(invocation, text) is FindingCode.NO_JSON


def test_text_is_not_parsed_unless_json_was_asked_for() -> None:
    assert read_answer(asked("memory", "list"), '{"a": 1}', "", 0).data is None


def test_colours_are_taken_out() -> None:
    assert read_answer(asked("memory", "list"), "\x1b[1mhi\x1b[0m", "\x1b[31mno\x1b[0m", 0) == Reply(
        data=None, text="hi", errors="no"
    )


@pytest.mark.parametrize(
    ("argv", "printed"),
    [
        (("agent", "status", "nope"), recorded.AGENT_MISSING),
        (("agent", "stop", "nope"), recorded.AGENT_STOP_MISSING),
        (("session", "delete", "nope"), recorded.SESSION_DELETE_MISSING),
        (("mcp", "exec", "-t", "agent_status", "-p", '{"agentId":"zz"}'), recorded.MCP_EXEC_MISSING),
        (("mcp", "exec", "-t", "x"), '{"result": {"success": false}}'),
    ],
)
def test_exit_status_zero_is_not_believed_when_the_answer_says_otherwise(argv: tuple[str, ...], printed: str) -> None:
    assert judged(asked(*argv), printed) is FindingCode.SAID_ERROR


def test_an_error_with_exit_status_zero_is_an_error() -> None:
    invocation = asked("memory", "store", "-k", "k", "--value", "x")
    assert judged(invocation, "", recorded.STORE_NUMBER_ERROR) is FindingCode.SAID_ERROR


def test_help_instead_of_work_is_no_work() -> None:
    assert judged(asked("security", "defend"), recorded.MEMORY_HELP) is FindingCode.PRINTED_HELP
    assert judged(asked("memory", "--help"), recorded.MEMORY_HELP) is FindingCode.DONE


@pytest.mark.parametrize(
    ("check_answer", "wanted"),
    [
        ((0, recorded.RETRIEVE, ""), FindingCode.DONE),
        ((0, recorded.RETRIEVE.replace('"v"', '"other"'), ""), FindingCode.CHECK_FAILED),
        ((1, "[WARN] Key not found: k\n", ""), FindingCode.CHECK_FAILED),
        ((0, "", ""), FindingCode.CHECK_FAILED),
    ],
)
def test_a_stored_value_counts_when_it_is_read_back(check_answer: tuple[int, str, str], wanted: FindingCode) -> None:
    invocation = asked("memory", "store", "-k", "k", "--value", "v")
    assert judged(invocation, recorded.STORE, "", 0, check_answer) is wanted


def test_work_whose_check_did_not_run_is_not_believed() -> None:
    assert judged(asked("memory", "store", "-k", "k", "--value", "v"), recorded.STORE) is FindingCode.CHECK_FAILED


@pytest.mark.parametrize(
    ("check_answer", "wanted"),
    [
        ((1, "[WARN] Key not found: k\n", ""), FindingCode.DONE),
        ((0, recorded.RETRIEVE, ""), FindingCode.CHECK_FAILED),
        ((1, "", "[ERROR] Failed to retrieve: disk I/O error\n"), FindingCode.CHECK_FAILED),
    ],
)
def test_a_deleted_entry_must_be_gone(check_answer: tuple[int, str, str], wanted: FindingCode) -> None:
    assert judged(asked("memory", "delete", "-k", "k"), '[OK] Deleted "k"\n', "", 0, check_answer) is wanted


@pytest.mark.parametrize(
    ("check_answer", "wanted"),
    [
        (recorded.AGENT_LIST, FindingCode.DONE),
        (recorded.AGENT_LIST.replace("19rako", "other"), FindingCode.CHECK_FAILED),
        ("{}", FindingCode.CHECK_FAILED),
        ("nothing", FindingCode.CHECK_FAILED),
    ],
)
def test_a_spawned_agent_must_be_listed(check_answer: str, wanted: FindingCode) -> None:
    assert judged(asked("agent", "spawn", "-t", "coder"), recorded.SPAWN, "", 0, (0, check_answer, "")) is wanted


def test_a_spawn_that_names_no_agent_is_not_believed() -> None:
    answer = (0, recorded.AGENT_LIST, "")
    assert judged(asked("agent", "spawn", "-t", "coder"), "{}", "", 0, answer) is FindingCode.CHECK_FAILED


@pytest.mark.parametrize(
    ("argv", "printed", "check_out", "wanted"),
    [
        (("hive-mind", "init"), "{}", '{"status": "active"}', FindingCode.DONE),
        (("hive-mind", "init"), "{}", '{"status": "offline"}', FindingCode.CHECK_FAILED),
        (("swarm", "init"), '{"swarmId": "s"}', '{"id": "s"}', FindingCode.DONE),
        (("swarm", "init"), '{"swarmId": "s"}', '{"id": "t"}', FindingCode.CHECK_FAILED),
        (("config", "set", "--key=a", "--value=true"), "Set a = true", '{"key": "a", "value": true}', FindingCode.DONE),
        (("config", "set", "--key=a", "--value=b"), "Set a = b", '{"key": "a"}', FindingCode.CHECK_FAILED),
        (("init", "--minimal"), "ok", "[OK] RuFlo is initialized", FindingCode.DONE),
        (("init", "--minimal"), "ok", "not initialized", FindingCode.CHECK_FAILED),
        (("memory", "init"), "ok", "[]", FindingCode.DONE),
    ],
)
def test_states_are_verified(argv: tuple[str, ...], printed: str, check_out: str, wanted: FindingCode) -> None:
    assert judged(asked(*argv), printed, "", 0, (0, check_out, "")) is wanted


def test_findings_are_not_failures_and_crashes_are() -> None:
    doctor = asked("doctor")
    assert judged(doctor, recorded.DOCTOR, "", 1) is FindingCode.FINDINGS
    assert judged(doctor, "", "", 1) is FindingCode.EXIT_STATUS
    assert judged(doctor, recorded.DOCTOR, "[ERROR] crashed\n", 1) is FindingCode.EXIT_STATUS
    assert judged(doctor, recorded.DOCTOR, "", 137) is FindingCode.EXIT_STATUS


def test_the_reason_is_the_commands_own() -> None:
    invocation = asked("session", "import", "x.json")
    reply = read_answer(invocation, "", "[ERROR] File not found: /w/x.json\n", 1)
    assert believe(invocation, 1, reply).reason == "File not found: /w/x.json"


def test_2_7_prints_its_errors_on_standard_output_with_exit_status_zero() -> None:
    invocation = asked("memory", "store", "k", "v", line=Line.V2_7)
    assert judged(invocation, "❌ Error: Failed to store\n") is FindingCode.SAID_ERROR
    assert judged(invocation, "stored", "", 0, (0, "k\nv", "")) is FindingCode.DONE
    assert judged(invocation, "stored", "", 0, (0, "No results found", "")) is FindingCode.CHECK_FAILED
