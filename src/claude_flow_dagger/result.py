"""What came of a run: the ledger, the evidence, the result. No I/O; `verdict.py` judges it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from claude_flow_dagger.job import AgentJob, CommandJob

RESULT_VERSION: Final = 1


class Record(BaseModel):
    """The base of everything reported: immutable, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Verdict(StrEnum):
    """What came of a run. `EXIT_CODES` maps it to exit statuses."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NO_WORK = "no_work"
    BUDGET_EXCEEDED = "budget_exceeded"
    POLICY_DENIED = "policy_denied"
    INFRASTRUCTURE_ERROR = "infrastructure_error"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"


EXIT_CODES: Final[dict[Verdict, int]] = {
    Verdict.SUCCEEDED: 0,
    Verdict.FAILED: 1,
    Verdict.NO_WORK: 3,
    Verdict.BUDGET_EXCEEDED: 4,
    Verdict.POLICY_DENIED: 5,
    Verdict.INFRASTRUCTURE_ERROR: 75,
    Verdict.TIMED_OUT: 124,
    Verdict.CANCELLED: 130,
}


class Refusal(StrEnum):
    """Why the gateway itself answered 403."""

    BUDGET_USD = "budget_usd"
    BUDGET_TOKENS = "budget_tokens"
    BUDGET_REQUESTS = "budget_requests"
    DEADLINE = "deadline"
    NOT_ALLOWED = "not_allowed"
    """Not the Messages API, or not a well-formed request."""
    BAD_TOKEN = "bad_token"  # noqa: S105 - a reason, not a secret
    SCRIPT_ENDED = "script_ended"
    """A scripted model had no turn left for the request."""
    SCRIPT_MISMATCH = "script_mismatch"
    """A scripted model expected another request."""
    CLOSED = "closed"
    """The run was over: its agent had ended, and this request had not."""


BUDGET_REFUSALS: Final = frozenset({Refusal.BUDGET_USD, Refusal.BUDGET_TOKENS, Refusal.BUDGET_REQUESTS})


class LedgerEntry(Record):
    """One request as the gateway saw it; a line of the JSONL ledger."""

    seq: int
    """Counts up from 1 in the order of arrival."""
    at: datetime
    method: str
    path: str
    model: str | None = None
    stream: bool = False
    status: int | None = None
    """What the sandbox was answered; None when the upstream gave no answer at all."""
    refusal: Refusal | None = None
    error: str | None = None
    """The error type of the answer, such as `rate_limit_error`, or of the connection."""
    cut: bool = False
    """The stream ended before its last event, on either side."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """Cache writes of five minutes."""
    cache_write_1h_tokens: int = 0
    cost_usd: Decimal | None = None
    """None: the model has no known price."""
    estimated: bool = False
    """The tokens are the reservation, since the answer never told them."""
    first_byte_ms: float | None = None
    duration_ms: float = 0.0

    @property
    def tokens(self) -> int:
        """Every token of the request: input, output, cache reads and writes."""
        return (
            self.input_tokens
            + self.output_tokens
            + self.cache_read_tokens
            + self.cache_write_tokens
            + self.cache_write_1h_tokens
        )


class Ledger(Record):
    """The sums over a run's entries."""

    requests: int = 0
    """Requests that the model answered with a 2xx."""
    refused: int = 0
    """Requests that the gateway refused itself."""
    errors: int = 0
    """Requests that the upstream answered with an error, or not at all."""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    tokens: int = 0
    cost_usd: Decimal | None = Decimal(0)
    """None when a model without a known price was used."""
    refusals: dict[Refusal, int] = {}
    models: tuple[str, ...] = ()
    last_status: int | None = None
    """The upstream's status for the last request that was sent to it; 0 when there was no connection."""
    last_error: str | None = None


class Ending(StrEnum):
    """How a sandbox came to its end, seen from outside."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"
    TOO_MANY_PROCESSES = "too_many_processes"
    OUT_OF_SPACE = "out_of_space"
    BROKEN = "broken"
    """The sandbox could not be started or ended without a report: this machine's fault."""


class Outcome(Record):
    """What a runner saw of one sandbox."""

    ending: Ending
    exit_code: int | None = None
    """Of the entrypoint; 128+N after signal N; None unless `exited`."""
    detail: str = ""
    """One line for people when the ending is not `exited`."""
    peak_memory: int | None = None
    """Bytes of the whole tree, sampled; None where it could not be measured."""


class FileChange(Record):
    """One file of the patch."""

    path: str
    status: Literal["added", "modified", "deleted", "type_changed"]
    binary: bool = False
    additions: int = 0
    deletions: int = 0


class Denial(Record):
    """A tool use that Claude Code's permissions refused (`permission_denials` of its result event)."""

    tool: str
    input: dict[str, Any] = {}


class Answer(Record):
    """Claude Code's last `result` event. Evidence of what it says, not of what happened."""

    is_error: bool
    subtype: str | None = None
    text: str | None = None
    api_error_status: int | None = None
    turns: int | None = None
    session_id: str | None = None
    denials: tuple[Denial, ...] = ()
    terminal_reason: str | None = None


class Proof(Record):
    """What the job's own verify command said of the result."""

    command: str
    exit_code: int | None
    ending: Ending
    output: str
    """Its last lines, standard output and error together."""

    @property
    def passed(self) -> bool:
        """Whether the command ran to its end and exited 0."""
        return self.ending is Ending.EXITED and self.exit_code == 0


class MemoryItem(Record):
    """One entry of claude-flow's memory, read back by a process of its own after the run."""

    key: str
    namespace: str
    value: str | None
    """None: listed, but it could not be retrieved."""


class Isolation(Record):
    """What held the sandbox."""

    runner: str
    sandbox: Literal["bubblewrap", "docker", "podman", "dagger", "kubernetes", "none"]
    network_cut: bool
    """Whether the network policy was enforced, and not only asked for."""
    detail: str = ""
    """Why there is no sandbox, when there is none."""


class Notice(Record):
    """Something worth knowing that did not decide the verdict."""

    code: str
    message: str


class Result(Record):
    """Everything that came of a run, safe to print and keep: secrets are masked."""

    version: Literal[1] = RESULT_VERSION
    run_id: str
    verdict: Verdict
    exit_code: int
    reason: str
    """A stable code for why, such as `model_auth` or `proof_failed`."""
    message: str
    """One line for people."""
    retryable: bool
    """Whether the same job may succeed if run again: only infrastructure errors are transient."""
    job: AgentJob | CommandJob = Field(discriminator="kind")
    started_at: datetime
    duration_s: float
    answer: Answer | None = None
    output: Any = None
    """A command job's answer: parsed JSON where the command speaks it, else its text."""
    ledger: Ledger = Ledger()
    changes: tuple[FileChange, ...] = ()
    patch: str | None = None
    """Git's format, binary files included. None when it isn't UTF-8: then `patch_base64` has it."""
    patch_base64: str | None = None
    memory: tuple[MemoryItem, ...] = ()
    proof: Proof | None = None
    isolation: Isolation | None = None
    scripted: bool = False
    """The model was a script: nothing here was thought up by a model."""
    versions: dict[str, str] = {}
    peak_memory: int | None = None
    notices: tuple[Notice, ...] = ()
    applied: bool = False
    """Whether the patch was written to the source."""
