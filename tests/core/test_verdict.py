"""The verdict: every line of its table, every lie that was seen, and the order in which the first match wins."""

from __future__ import annotations

from decimal import Decimal

import pytest

from claude_flow_dagger.job import AgentJob, CommandJob, Expect
from claude_flow_dagger.result import EXIT_CODES, Answer, Denial, Ending, Ledger, Outcome, Proof, Refusal, Verdict
from claude_flow_dagger.verdict import CommandFinding, Evidence, judge

JOB = AgentJob(objective="Greet in French too")
COMMAND = CommandJob(kind="command", argv=("memory", "list"))
ENDED = Outcome(ending=Ending.EXITED, exit_code=0)
WORKED = Ledger(requests=3, last_status=200)
SAID = Answer(is_error=False, subtype="success", text="Done.")
DENIED = SAID.model_copy(update={"denials": (Denial(tool="Bash"),)})


def evidence(**parts: object) -> Evidence:
    return Evidence(**{"outcome": ENDED, "ledger": WORKED, "answer": SAID, "changed": True, **parts})  # type: ignore[arg-type]


def expecting(what: Expect) -> AgentJob:
    return JOB.model_copy(update={"expect": what})


def proof(code: int | None, ending: Ending = Ending.EXITED) -> Proof:
    return Proof(command="npm test", exit_code=code, ending=ending, output="")


CASES = [
    ("all is well", JOB, {}, Verdict.SUCCEEDED, "ok"),
    ("an answer without changes counts by default", JOB, {"changed": False}, Verdict.SUCCEEDED, "ok"),
    ("the proof passed", JOB, {"proof": proof(0)}, Verdict.SUCCEEDED, "ok"),
    (
        "cancelled wins over everything",
        JOB,
        {"outcome": Outcome(ending=Ending.CANCELLED), "ledger": Ledger(refusals={Refusal.BUDGET_USD: 1})},
        Verdict.CANCELLED,
        "cancelled",
    ),
    ("timed out", JOB, {"outcome": Outcome(ending=Ending.TIMED_OUT)}, Verdict.TIMED_OUT, "timed_out"),
    (
        "the gateway's deadline, whatever the agent made of it",
        JOB,
        {"ledger": Ledger(requests=1, refusals={Refusal.DEADLINE: 1}, last_status=200)},
        Verdict.TIMED_OUT,
        "timed_out",
    ),
    (
        "budget spent, and the agent says success",
        JOB,
        {"ledger": Ledger(requests=1, refusals={Refusal.BUDGET_USD: 2}, last_status=200)},
        Verdict.BUDGET_EXCEEDED,
        "budget_usd",
    ),
    (
        "budget spent, exit status 1",
        JOB,
        {
            "outcome": Outcome(ending=Ending.EXITED, exit_code=1),
            "ledger": Ledger(requests=1, refusals={Refusal.BUDGET_TOKENS: 1}),
        },
        Verdict.BUDGET_EXCEEDED,
        "budget_tokens",
    ),
    (
        "a rate-limited run exits 0 with success",
        JOB,
        {"ledger": Ledger(requests=2, errors=3, last_status=429)},
        Verdict.INFRASTRUCTURE_ERROR,
        "model_unavailable",
    ),
    ("overloaded", JOB, {"ledger": Ledger(last_status=529)}, Verdict.INFRASTRUCTURE_ERROR, "model_unavailable"),
    ("no connection", JOB, {"ledger": Ledger(last_status=0)}, Verdict.INFRASTRUCTURE_ERROR, "model_unavailable"),
    (
        "a model that came back is no infrastructure error",
        JOB,
        {"ledger": Ledger(requests=2, errors=3, last_status=200)},
        Verdict.SUCCEEDED,
        "ok",
    ),
    ("the sandbox broke", JOB, {"outcome": Outcome(ending=Ending.BROKEN)}, Verdict.INFRASTRUCTURE_ERROR, "broken"),
    (
        "the disk is full",
        JOB,
        {"outcome": Outcome(ending=Ending.OUT_OF_SPACE)},
        Verdict.INFRASTRUCTURE_ERROR,
        "out_of_space",
    ),
    ("a forbidden patch", JOB, {"forbidden": ".github/x"}, Verdict.POLICY_DENIED, "forbidden_patch"),
    (
        "a denied tool and no changes, exit 0, is_error false",
        expecting(Expect.CHANGES),
        {"answer": DENIED, "changed": False},
        Verdict.POLICY_DENIED,
        "tool_denied",
    ),
    ("a denied tool and nothing done", JOB, {"answer": DENIED, "changed": False}, Verdict.POLICY_DENIED, "tool_denied"),
    ("a denied tool that was not missed", JOB, {"answer": DENIED}, Verdict.SUCCEEDED, "ok"),
    ("wrong key", JOB, {"ledger": Ledger(last_status=401), "answer": None}, Verdict.FAILED, "model_auth"),
    ("forbidden key", JOB, {"ledger": Ledger(last_status=403)}, Verdict.FAILED, "model_auth"),
    (
        "the script has ended",
        JOB,
        {"ledger": Ledger(requests=1, refusals={Refusal.SCRIPT_ENDED: 1}, last_status=200)},
        Verdict.FAILED,
        "script_ended",
    ),
    ("out of memory", JOB, {"outcome": Outcome(ending=Ending.OUT_OF_MEMORY)}, Verdict.FAILED, "out_of_memory"),
    (
        "too many processes",
        JOB,
        {"outcome": Outcome(ending=Ending.TOO_MANY_PROCESSES)},
        Verdict.FAILED,
        "too_many_processes",
    ),
    ("a patch over its limit", JOB, {"unreadable": "the patch is too large"}, Verdict.FAILED, "result_unreadable"),
    ("hive-mind init failed", JOB, {"failed_step": "hive-init"}, Verdict.FAILED, "step_failed"),
    (
        "an API failure keeps subtype success",
        JOB,
        {"answer": Answer(is_error=True, subtype="success", api_error_status=500, terminal_reason="api_error")},
        Verdict.FAILED,
        "api_error",
    ),
    (
        "the turns ran out",
        JOB,
        {
            "answer": Answer(is_error=True, subtype="error_max_turns"),
            "outcome": Outcome(ending=Ending.EXITED, exit_code=1),
        },
        Verdict.FAILED,
        "error_max_turns",
    ),
    ("exit status 1", JOB, {"outcome": Outcome(ending=Ending.EXITED, exit_code=1)}, Verdict.FAILED, "exit_status"),
    ("no result event at all, exit 0", JOB, {"answer": None}, Verdict.FAILED, "no_result"),
    ("the proof failed", JOB, {"proof": proof(1)}, Verdict.FAILED, "proof_failed"),
    ("the proof did not end", JOB, {"proof": proof(None, Ending.TIMED_OUT)}, Verdict.FAILED, "proof_failed"),
    (
        "the model was never reached, exit 0",
        JOB,
        {"ledger": Ledger(), "answer": None},
        Verdict.NO_WORK,
        "model_not_reached",
    ),
    (
        "never reached, and a forged result event",
        JOB,
        {"ledger": Ledger()},
        Verdict.NO_WORK,
        "model_not_reached",
    ),
    ("only talked", expecting(Expect.CHANGES), {"changed": False}, Verdict.NO_WORK, "no_changes"),
    (
        "no answer",
        expecting(Expect.ANSWER),
        {"answer": Answer(is_error=False, text=" \n")},
        Verdict.NO_WORK,
        "no_answer",
    ),
    (
        "a command that worked",
        COMMAND,
        {"finding": CommandFinding(worked=True, evidence=True), "answer": None, "ledger": Ledger()},
        Verdict.SUCCEEDED,
        "ok",
    ),
    (
        "a command that found something exits 1",
        COMMAND,
        {
            "finding": CommandFinding(worked=True, evidence=True),
            "outcome": Outcome(ending=Ending.EXITED, exit_code=1),
            "answer": None,
            "ledger": Ledger(),
        },
        Verdict.SUCCEEDED,
        "ok",
    ),
    (
        "a command that exited 0 and did nothing",
        COMMAND,
        {"finding": CommandFinding(worked=False, evidence=True, message="not found"), "answer": None},
        Verdict.FAILED,
        "command_failed",
    ),
    (
        "a command that nothing verifies",
        COMMAND,
        {"finding": CommandFinding(worked=True, evidence=False), "answer": None},
        Verdict.NO_WORK,
        "unverified",
    ),
    ("a command without a finding", COMMAND, {"answer": None, "ledger": Ledger()}, Verdict.NO_WORK, "unverified"),
]


@pytest.mark.parametrize(("job", "parts", "verdict", "reason"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_verdict(job: AgentJob | CommandJob, parts: dict[str, object], verdict: Verdict, reason: str) -> None:
    judgement = judge(job, evidence(**parts))
    assert (judgement.verdict, judgement.reason) == (verdict, reason)
    assert judgement.exit_code == EXIT_CODES[verdict]
    assert judgement.message


def test_only_infrastructure_errors_are_worth_a_retry() -> None:
    for _, job, parts, verdict, _ in CASES:
        assert judge(job, evidence(**parts)).retryable == (verdict is Verdict.INFRASTRUCTURE_ERROR)


def test_every_verdict_has_a_case_and_an_exit_code_of_its_own() -> None:
    assert {case[3] for case in CASES} == set(Verdict) == set(EXIT_CODES)
    assert len(set(EXIT_CODES.values())) == len(Verdict)
    assert [verdict for verdict, code in EXIT_CODES.items() if code == 0] == [Verdict.SUCCEEDED]


def test_the_budget_message_tells_what_was_spent() -> None:
    ledger = Ledger(requests=2, tokens=1234, cost_usd=Decimal("0.05"), refusals={Refusal.BUDGET_USD: 1})
    assert judge(JOB, evidence(ledger=ledger)).message == (
        "the budget ran out after 2 requests, 1234 tokens, 0.0500 USD"
    )
    unpriced = ledger.model_copy(update={"cost_usd": None})
    assert "USD" not in judge(JOB, evidence(ledger=unpriced)).message
