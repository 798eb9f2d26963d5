"""Command jobs: what the catalogue says before and after they run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from claude_flow_dagger.commands import CheckReply, ExitTrust, Invocation, believe, check, line_of, read_answer
from claude_flow_dagger.errors import InvalidJob
from claude_flow_dagger.execution.sandboxes import Sandboxes
from claude_flow_dagger.job import CommandJob, Network
from claude_flow_dagger.plan import plan_commands
from claude_flow_dagger.transcript import StepOutput, Transcript
from claude_flow_dagger.verdict import CommandFinding


@dataclass(frozen=True)
class CheckedCommand:
    """A command line that the pinned claude-flow has.

    Args:
        job: with the argv in the one form that claude-flow cannot misread.
        invocation: what the catalogue knows of it.
    """

    job: CommandJob
    invocation: Invocation

    @property
    def needs_model(self) -> bool:
        """Whether it starts Claude Code itself."""
        return self.invocation.needs_model


@dataclass(frozen=True)
class CommandResult:
    """What a command did, and what it said: parsed JSON, or its text."""

    finding: CommandFinding
    output: Any


def check_command(job: CommandJob) -> CheckedCommand:
    """Look a command up in the catalogue of the pinned version.

    Raises:
        UnknownCommand: claude-flow has no such command, subcommand or option.
        RefusedInput: a value is missing, or the command would never end.
    """
    invocation = check(job.argv, line_of(job.pins.claude_flow))
    return CheckedCommand(job.model_copy(update={"argv": invocation.argv_to_run}), invocation)


def check_network(command: CheckedCommand) -> None:
    """Refuse a command that starts Claude Code and was given no way to a model.

    Raises:
        InvalidJob: its network is `none`, which means nothing at all.
    """
    if command.needs_model and command.job.network is Network.NONE:
        raise InvalidJob(
            f"`{command.invocation.command.name}` starts Claude Code, and its network is `none`",
            cure="give it --network model (the gateway and nothing else)",
        )


async def run_checks(command: CheckedCommand, main: StepOutput, sandboxes: Sandboxes, workspace: Path) -> CommandResult:
    """Judge a command by its answer and by what separate processes find afterwards.

    Args:
        command: what ran.
        main: what it wrote and how it ended.
        sandboxes: where the checks run.
        workspace: what they look at.
    """
    invocation = command.invocation
    exit_code = main.code if main.code is not None else 1
    reply = read_answer(invocation, main.text(), "\n".join(main.stderr), exit_code)
    replies: list[CheckReply] = []
    if invocation.checks and (exit_code == 0 or invocation.exit_trust is ExitTrust.NONZERO_IS_FINDING):
        transcript = Transcript()
        words = {f"check-{number}": item.argv for number, item in enumerate(invocation.checks)}
        await sandboxes.run(
            "checks",
            lambda layout, _socket: plan_commands(layout, words, command.job.env),
            workspace=workspace,
            transcript=transcript,
            quiet=True,
        )
        for name in words:
            step = transcript.step(name)
            code = step.code if step.code is not None else 1
            replies.append(
                CheckReply(exit_code=code, reply=read_answer(invocation, step.text(), "\n".join(step.stderr), code))
            )
    finding = believe(invocation, exit_code, reply, replies)
    return CommandResult(
        CommandFinding(worked=finding.done, evidence=True, message=finding.reason),
        # A format that was only added to judge by is not what the caller wants to read.
        reply.data if reply.data is not None and invocation.wants_json else main.text(),
    )
