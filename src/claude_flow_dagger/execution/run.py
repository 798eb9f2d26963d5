"""A job from its workspace to its result: the order of things, and nothing of how each is done."""

from __future__ import annotations

import base64
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from claude_flow_dagger.errors import (
    ApplyConflict,
    GatewayError,
    InfrastructureError,
    InvalidJob,
    InvalidSource,
    MissingKey,
    OutOfSpace,
    PatchTooLarge,
    UnsafeRun,
)
from claude_flow_dagger.events import EventType
from claude_flow_dagger.execution.after import read_memory, run_proof
from claude_flow_dagger.execution.commands import CheckedCommand, check_command, check_network, run_checks
from claude_flow_dagger.execution.gatekeeper import budget_of, open_gateway
from claude_flow_dagger.execution.reporter import Reporter
from claude_flow_dagger.execution.request import Request
from claude_flow_dagger.execution.sandboxes import Sandboxes
from claude_flow_dagger.execution.scratch import Scratch, new_run_id, open_scratch
from claude_flow_dagger.execution.tree import Prepared, Stopped, check_source, prepare_tree
from claude_flow_dagger.gateway.wire import RunToken
from claude_flow_dagger.job import AgentJob
from claude_flow_dagger.masking import Masker
from claude_flow_dagger.plan import AgentContext, Layout, ModelAccess, Plan, plan_agent, plan_command
from claude_flow_dagger.result import Ending, Isolation, Ledger, MemoryItem, Outcome, Proof, Result, Verdict
from claude_flow_dagger.runners.base import Runner
from claude_flow_dagger.transcript import Transcript
from claude_flow_dagger.verdict import CommandFinding, Evidence, Judgement, judge
from claude_flow_dagger.workspace.patch import Patch
from claude_flow_dagger.workspace.tree import Tree


async def execute(request: Request, runner: Runner, *, cache: Path, temp: Path) -> Result:
    """Run a job to its result.

    Args:
        request: what to run, on what, and who watches.
        runner: where.
        cache: the user's cache directory for this program; the workspace's copy lives there during the run.
        temp: where the gateway's socket may go.

    Returns:
        The result, masked. A run that fails is a result too.

    Raises:
        RefusedInput: the request is wrong; nothing was started.
        InfrastructureError: this machine could not even begin. Once a sandbox runs, that is a verdict.
    """
    command = check_request(request)
    started = datetime.now(UTC)
    run_id = new_run_id(started)
    token = RunToken.generate()
    known = (*request.secrets, *(request.model.secrets if request.model else ()), token.value)
    masker = Masker(known)
    reporter = Reporter(masker, request.on_event)
    reporter.emit(EventType.STARTED, run_id)
    isolation = await runner.isolation()
    _check_isolation(request, isolation, reporter)
    with open_scratch(cache, temp, run_id) as scratch:
        run = _Run(
            request=request,
            scratch=scratch,
            run_id=run_id,
            token=token,
            command=command,
            isolation=isolation,
            reporter=reporter,
            masker=masker,
            sandboxes=Sandboxes(runner, scratch, run_id, request, reporter),
        )
        result = await run.to_result(started)
    reporter.emit(EventType.RESULT, result.message, result=result)
    return result


def check_request(request: Request) -> CheckedCommand | None:
    """Refuse what can be refused before anything is started.

    Returns:
        The checked command of a command job.

    Raises:
        RefusedInput: the request is wrong.
    """
    command = None if isinstance(request.job, AgentJob) else check_command(request.job)
    if command is None or command.needs_model:
        if request.model is None:
            raise MissingKey(
                "this job needs a model, and there is neither a key nor a script",
                cure="set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, or give --model-script FILE",
            )
        budget_of(request.job, None)
    if command is not None:
        check_network(command)
    if request.source is not None:
        check_source(request.source)
    _check_no_secret(request)
    return command


def _check_no_secret(request: Request) -> None:
    """A key in the job would be in the sandbox: the gateway is there so that it need not be."""
    text = request.job.model_dump_json()
    secrets = (*request.secrets, *(request.model.secrets if request.model else ()))
    if any(json.dumps(secret, ensure_ascii=False)[1:-1] in text for secret in secrets):
        raise InvalidJob(
            "the job holds a credential of this environment, and the sandbox would see it",
            cure="take it out of the job: agents reach the model without it",
        )


def _check_isolation(request: Request, isolation: Isolation, reporter: Reporter) -> None:
    if isolation.sandbox != "none":
        return
    if request.model is not None and not request.model.scripted and not request.allow_unsandboxed:
        raise UnsafeRun(
            f"a run with a real key needs a sandbox, and none works here: {isolation.detail}",
            cure="install bubblewrap (apt-get install bubblewrap); --allow-unsandboxed gives the agent this machine",
        )
    reporter.notice("unsandboxed", f"no sandbox works here ({isolation.detail}): plain processes, the network not cut")


@dataclass
class _Gathered:
    """What a run has left so far; every part has a value from the start, so that a failure keeps what there is."""

    outcome: Outcome
    ledger: Ledger
    patch: Patch
    after: Tree | None = None
    memory: tuple[MemoryItem, ...] = ()
    proof: Proof | None = None
    finding: CommandFinding | None = None
    output: Any = None
    applied: bool = False
    unreadable: str = ""


@dataclass(kw_only=True)
class _Run:
    request: Request
    scratch: Scratch
    run_id: str
    token: RunToken
    command: CheckedCommand | None
    isolation: Isolation
    reporter: Reporter
    masker: Masker
    sandboxes: Sandboxes
    transcript: Transcript = field(default_factory=Transcript)

    async def to_result(self, started: datetime) -> Result:
        gathered = _Gathered(Outcome(ending=Ending.CANCELLED), Ledger(), Patch(b"", ()))
        try:
            tree = await prepare_tree(self.request, self.scratch, self.reporter)
        except Stopped:
            return self._result(started, gathered, self._judge(gathered))
        try:
            if not self.request.cancelled.is_set():
                await self._work(tree, gathered)
            if self.request.cancelled.is_set():
                # Also when the agent itself had ended already: what came after it is part of the run.
                gathered.outcome = gathered.outcome.model_copy(update={"ending": Ending.CANCELLED})
            judgement = self._judge(gathered)
        except InfrastructureError as problem:
            ending = Ending.OUT_OF_SPACE if isinstance(problem, OutOfSpace) else Ending.BROKEN
            gathered.outcome = Outcome(ending=ending, detail=problem.message)
            judgement = self._judge(gathered)
        if judgement.verdict is Verdict.SUCCEEDED and self.request.apply and gathered.after is not None:
            judgement = await self._apply(tree, gathered, gathered.after, judgement)
        await tree.clean_up()
        return self._result(started, gathered, judgement)

    async def _work(self, tree: Prepared, gathered: _Gathered) -> None:
        try:
            await self._main(tree, gathered)
        finally:
            await tree.hand_out_state()
        try:
            gathered.after, gathered.patch = await tree.compare()
        except (InvalidSource, PatchTooLarge) as problem:
            # What cannot be read is what the agent left: its failure, and not a refused input.
            gathered.unreadable = problem.message
        if gathered.outcome.ending is not Ending.EXITED or gathered.unreadable:
            return
        if self.command is not None:
            checked = await run_checks(self.command, self.transcript.step("main"), self.sandboxes, tree.workspace)
            gathered.finding, gathered.output = checked.finding, checked.output
        elif self.transcript.failed_step is None:
            gathered.memory = await read_memory(self.request.job, self.sandboxes, tree.workspace)
        if self.request.job.verify is not None and self._judge(gathered).verdict is Verdict.SUCCEEDED:
            gathered.proof = await run_proof(self.request.job.verify, self.request.job, self.sandboxes, tree)

    async def _main(self, tree: Prepared, gathered: _Gathered) -> None:
        async with AsyncExitStack() as stack:
            gateway = None
            if self.command is None or self.command.needs_model:
                deadline = time.monotonic() + self.request.job.limits.wall
                opening = open_gateway(
                    self.request, self.token, socket=self.scratch.socket, deadline=deadline, reporter=self.reporter
                )
                gateway = await stack.enter_async_context(opening) if opening is not None else None
            gathered.outcome = await self.sandboxes.run(
                "agent" if self.command is None else "command",
                lambda layout, socket: self._plan(layout, socket, tree),
                workspace=tree.workspace,
                network=self.request.job.network,
                gateway=self.scratch.socket if gateway is not None else None,
                protected=tree.protected,
                transcript=self.transcript,
            )
        if gateway is not None:
            # Closed: what was still in flight has settled, and the sums are final.
            gathered.ledger = gateway.ledger()
            if gateway.failure is not None:
                raise gateway.failure

    def _plan(self, layout: Layout, socket: str | None, tree: Prepared) -> Plan:
        model, access = self.request.model, None
        if model is not None and socket is not None:
            access = ModelAccess(token=self.token.value, credential=model.credential, socket=socket)
        if self.command is not None:
            return plan_command(self.command.job, layout, prepare=self.command.invocation.prepare, access=access)
        if access is None or not isinstance(self.request.job, AgentJob):
            raise GatewayError("an agent was to be planned without a gateway")
        context = AgentContext(access=access, has_memory=tree.has_memory, instructions=tree.instructions)
        return plan_agent(self.request.job, layout, context)

    def _judge(self, gathered: _Gathered) -> Judgement:
        evidence = Evidence(
            outcome=gathered.outcome,
            ledger=gathered.ledger,
            answer=self.transcript.answer,
            changed=bool(gathered.patch.changes),
            proof=gathered.proof,
            finding=gathered.finding,
            failed_step=self.transcript.failed_step,
            unreadable=gathered.unreadable,
        )
        return judge(self.request.job, evidence)

    async def _apply(self, tree: Prepared, gathered: _Gathered, after: Tree, judgement: Judgement) -> Judgement:
        try:
            await tree.apply(after)
        except ApplyConflict as conflict:
            self.reporter.notice("not_applied", conflict.message)
            return replace(judgement, verdict=Verdict.FAILED, reason=conflict.code, message=conflict.message)
        gathered.applied = True
        return judgement

    def _result(self, started: datetime, gathered: _Gathered, judgement: Judgement) -> Result:
        patch = self.masker.mask_bytes(gathered.patch.data)
        try:
            text, encoded = patch.decode("utf-8"), None
        except UnicodeDecodeError:
            text, encoded = None, base64.b64encode(patch).decode("ascii")
        result = Result(
            run_id=self.run_id,
            verdict=judgement.verdict,
            exit_code=judgement.exit_code,
            reason=judgement.reason,
            message=judgement.message,
            retryable=judgement.retryable,
            job=self.request.job,
            started_at=started,
            duration_s=round(self.reporter.elapsed, 3),
            answer=self.transcript.answer,
            output=gathered.output,
            ledger=gathered.ledger,
            changes=gathered.patch.changes,
            memory=gathered.memory,
            proof=gathered.proof,
            isolation=self.isolation,
            scripted=self.request.model is not None and self.request.model.scripted,
            versions=dict(self.request.versions),
            peak_memory=gathered.outcome.peak_memory,
            notices=tuple(self.reporter.notices),
            applied=gathered.applied,
        )
        masked = Result.model_validate(self.masker.mask_json(result.model_dump(mode="json")))
        # The patch was masked as bytes: base64 must not be looked into again.
        return masked.model_copy(update={"patch": text, "patch_base64": encoded})
