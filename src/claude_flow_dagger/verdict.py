"""The verdict: evidence in, judgement out. Pure, and the only place that decides.

Each single piece of evidence lies: Claude Code exits 0 after a denied tool, says `subtype: success` over an API error;
claude-flow exits 0 after most failures (both seen). So all of it is looked at together, and the first match wins.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from claude_flow_dagger.job import AgentJob, CommandJob, Expect
from claude_flow_dagger.result import (
    BUDGET_REFUSALS,
    EXIT_CODES,
    Answer,
    Ending,
    Ledger,
    Outcome,
    Proof,
    Refusal,
    Verdict,
)


@dataclass(frozen=True, kw_only=True)
class CommandFinding:
    """What the catalogue made of a command's answer and of what it verified afterwards.

    Args:
        worked: the command did what it says.
        evidence: whether there was anything to tell that by; without it a success is only `no_work`.
        message: one line for people.
    """

    worked: bool
    evidence: bool
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that a run left, gathered by the caller.

    Args:
        outcome: how the sandbox ended.
        ledger: what the gateway saw; empty when the run had none.
        answer: Claude Code's result event, if there was one.
        changed: whether the patch is non-empty.
        proof: the verify command's result, when the job has one and it was run.
        finding: for a command job, the catalogue's.
        forbidden: what makes the patch forbidden, naming paths; empty for an allowed patch.
        failed_step: the preparing step that failed, if one did.
        unreadable: why the workspace could not be compared, such as a patch over its limit.
    """

    outcome: Outcome
    ledger: Ledger = field(default_factory=Ledger)
    answer: Answer | None = None
    changed: bool = False
    proof: Proof | None = None
    finding: CommandFinding | None = None
    forbidden: str = ""
    failed_step: str | None = None
    unreadable: str = ""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A verdict with its reason: a stable code, and one line for people."""

    verdict: Verdict
    reason: str
    message: str

    @property
    def exit_code(self) -> int:
        """The exit status that the verdict maps to."""
        return EXIT_CODES[self.verdict]

    @property
    def retryable(self) -> bool:
        """Only infrastructure errors are transient; whatever else is retried fails again and costs again."""
        return self.verdict is Verdict.INFRASTRUCTURE_ERROR


# The model's last word, when it means that this was nobody's fault in particular: overloaded, rate limited, no answer.
_TRANSIENT_STATUSES: Final = frozenset({0, 408, 429})


def judge(job: AgentJob | CommandJob, evidence: Evidence) -> Judgement:
    """The verdict of a run.

    Args:
        job: what was asked for.
        evidence: what was left.
    """
    found = (
        _stopped(evidence)
        or _budget(evidence)
        or _infrastructure(evidence)
        or _policy(job, evidence)
        or _failed(evidence)
        or _no_work(job, evidence)
    )
    if found is None:
        return Judgement(verdict=Verdict.SUCCEEDED, reason="ok", message=_success(job, evidence))
    # A runner that gives no detail still leaves the reader with a reason.
    return found if found.message else replace(found, message=found.reason.replace("_", " "))


def _stopped(evidence: Evidence) -> Judgement | None:
    if evidence.outcome.ending is Ending.CANCELLED:
        return Judgement(verdict=Verdict.CANCELLED, reason="cancelled", message="stopped before it ended")
    if evidence.outcome.ending is Ending.TIMED_OUT or Refusal.DEADLINE in evidence.ledger.refusals:
        message = evidence.outcome.detail or "its wall time ran out"
        return Judgement(verdict=Verdict.TIMED_OUT, reason="timed_out", message=message)
    return None


def _budget(evidence: Evidence) -> Judgement | None:
    spent = [refusal for refusal in evidence.ledger.refusals if refusal in BUDGET_REFUSALS]
    if not spent:
        return None
    ledger = evidence.ledger
    cost = f", {ledger.cost_usd:.4f} USD" if ledger.cost_usd is not None else ""
    requests = "1 request" if ledger.requests == 1 else f"{ledger.requests} requests"
    message = f"the budget ran out after {requests}, {ledger.tokens} tokens{cost}"
    return Judgement(verdict=Verdict.BUDGET_EXCEEDED, reason=spent[0].value, message=message)


def _infrastructure(evidence: Evidence) -> Judgement | None:
    outcome, ledger = evidence.outcome, evidence.ledger
    if outcome.ending in (Ending.BROKEN, Ending.OUT_OF_SPACE):
        return Judgement(verdict=Verdict.INFRASTRUCTURE_ERROR, reason=outcome.ending.value, message=outcome.detail)
    status = ledger.last_status
    if status is not None and (status in _TRANSIENT_STATUSES or status >= 500):
        said = f"answered {status}" if status else "could not be reached"
        error = f" ({ledger.last_error})" if ledger.last_error else ""
        message = f"the model's last word: it {said}{error}"
        return Judgement(verdict=Verdict.INFRASTRUCTURE_ERROR, reason="model_unavailable", message=message)
    return None


def _policy(job: AgentJob | CommandJob, evidence: Evidence) -> Judgement | None:
    if evidence.forbidden:
        return Judgement(verdict=Verdict.POLICY_DENIED, reason="forbidden_patch", message=evidence.forbidden)
    denials = evidence.answer.denials if evidence.answer is not None else ()
    if denials and (_missing(job, evidence) or (not evidence.changed and job.expect is Expect.ANY)):
        tools = ", ".join(sorted({denial.tool for denial in denials}))
        message = f"a tool was denied ({tools}) and the expected evidence is missing"
        return Judgement(verdict=Verdict.POLICY_DENIED, reason="tool_denied", message=message)
    return None


def _failed(evidence: Evidence) -> Judgement | None:
    found = _model_failed(evidence) or _limit_broken(evidence.outcome) or _work_failed(evidence)
    return Judgement(verdict=Verdict.FAILED, reason=found[0], message=found[1]) if found else None


def _model_failed(evidence: Evidence) -> tuple[str, str] | None:
    ledger = evidence.ledger
    wrong = next((r for r in (Refusal.SCRIPT_ENDED, Refusal.SCRIPT_MISMATCH) if r in ledger.refusals), None)
    if wrong is not None:
        # What the gateway said of it reached the agent, which repeats it; a forged text can only mislead the reader.
        said = evidence.answer.text if evidence.answer is not None and evidence.answer.is_error else None
        return wrong.value, said or "the model script has no turn for what the agent asked"
    if ledger.last_status in (401, 403):
        return "model_auth", f"the model answered {ledger.last_status}: check the key and what it may use"
    return None


def _limit_broken(outcome: Outcome) -> tuple[str, str] | None:
    limits = (Ending.OUT_OF_MEMORY, Ending.TOO_MANY_PROCESSES)
    return (outcome.ending.value, outcome.detail) if outcome.ending in limits else None


def _work_failed(evidence: Evidence) -> tuple[str, str] | None:
    answer, finding, proof = evidence.answer, evidence.finding, evidence.proof
    if evidence.unreadable:
        return "result_unreadable", evidence.unreadable
    if evidence.failed_step is not None:
        return "step_failed", f"the preparing step `{evidence.failed_step}` failed"
    if answer is not None and answer.is_error:
        why = answer.subtype if answer.subtype not in (None, "success") else answer.terminal_reason
        status = f" (the model answered {answer.api_error_status})" if answer.api_error_status else ""
        return why or "agent_error", f"the agent ended with an error: {why or 'unnamed'}{status}"
    if finding is not None and not finding.worked:
        return "command_failed", finding.message
    if finding is None and evidence.outcome.exit_code != 0:
        return "exit_status", f"the agent's process exited {evidence.outcome.exit_code}"
    if finding is None and answer is None and evidence.ledger.requests:
        return "no_result", "Claude Code ended without a result event"
    if proof is not None and not proof.passed:
        ended = f"exited {proof.exit_code}" if proof.ending is Ending.EXITED else "did not end"
        return "proof_failed", f"the verify command {ended}: {proof.command}"
    return None


def _no_work(job: AgentJob | CommandJob, evidence: Evidence) -> Judgement | None:
    missing = _missing(job, evidence)
    return Judgement(verdict=Verdict.NO_WORK, reason=missing[0], message=missing[1]) if missing else None


def _missing(job: AgentJob | CommandJob, evidence: Evidence) -> tuple[str, str] | None:
    """The evidence that the job expects and that isn't there: a code and a line, or None."""
    if isinstance(job, AgentJob):
        if evidence.ledger.requests == 0:
            return "model_not_reached", "the agent ended without a single answered model request"
        text = evidence.answer.text if evidence.answer is not None else None
        if job.expect is Expect.ANSWER and not (text or "").strip():
            return "no_answer", "an answer was expected, and the agent gave none"
    elif evidence.finding is None or not evidence.finding.evidence:
        said = evidence.finding.message if evidence.finding is not None else ""
        return "unverified", said or "nothing shows that the command worked"
    if job.expect is Expect.CHANGES and not evidence.changed:
        return "no_changes", "changes were expected, and no file was changed"
    return None


def _success(job: AgentJob | CommandJob, evidence: Evidence) -> str:
    if isinstance(job, CommandJob):
        return (evidence.finding.message if evidence.finding else "") or "the command did what it says"
    did = "changed files" if evidence.changed else "answered, and changed no file"
    proven = "; the verify command passed" if evidence.proof is not None else ""
    return f"the agent {did}{proven}"
