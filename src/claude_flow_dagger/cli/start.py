"""From what was asked to an exit status: the runtime, the runner, the run, the output."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from claude_flow_dagger.cli.admission import AGENT_MEMORY, COMMAND_MEMORY, admitted
from claude_flow_dagger.cli.container import ContainerOptions
from claude_flow_dagger.cli.harden import harden
from claude_flow_dagger.cli.options import Output, RunnerName
from claude_flow_dagger.cli.places import Wanted, open_runner, prepare
from claude_flow_dagger.cli.show import View, make_view
from claude_flow_dagger.cli.signals import cancel_on_signal
from claude_flow_dagger.config import Settings
from claude_flow_dagger.errors import InfrastructureError, InvalidJob, InvalidSource
from claude_flow_dagger.execution import ModelSource, Request, check_request, execute
from claude_flow_dagger.job import AgentJob, CommandJob
from claude_flow_dagger.result import Result
from claude_flow_dagger.runtime.install import Runtime


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a command line asked for, parsed and validated."""

    settings: Settings
    runner: RunnerName
    container: ContainerOptions
    job: AgentJob | CommandJob
    model: ModelSource | None
    source: Path | None
    in_place: bool
    apply: bool
    state: Path | None
    patch: Path | None
    ledger: Path | None
    output: Output
    allow_unsandboxed: bool


def start(asked: Asked) -> int:
    """Run the job to its end.

    Returns:
        The verdict's exit status.

    Raises:
        ClaudeFlowDaggerError: it could not begin.
    """
    if asked.settings.secrets():
        harden()
    _check(asked)
    view = make_view(asked.output)
    with view:
        # Whatever can be refused is refused before minutes go into an installation.
        check_request(_request(asked, {}, view))
        wanted = Wanted(
            runner=asked.runner,
            container=asked.container,
            pins=asked.job.pins,
            with_claude=isinstance(asked.job, AgentJob) or asked.model is not None,
        )
        wanted.check()
        prepared = prepare(wanted, asked.settings, view)
        result = asyncio.run(_execute(asked, wanted, prepared, view))
    if asked.patch is not None:
        _write_patch(asked.patch, result)
    view.result(result)
    return result.exit_code


async def _execute(asked: Asked, wanted: Wanted, prepared: Runtime | str, view: View) -> Result:
    settings, cancelled = asked.settings, asyncio.Event()
    with cancel_on_signal(cancelled):
        async with open_runner(wanted, prepared, settings) as (runner, versions):
            request = replace(_request(asked, versions, view), cancelled=cancelled)
            need = AGENT_MEMORY if isinstance(asked.job, AgentJob) else COMMAND_MEMORY
            async with admitted(settings.cache / "admission", need, cancelled, view.progress):
                return await execute(request, runner, cache=settings.cache, temp=settings.temp)


def _request(asked: Asked, versions: Mapping[str, str], view: View) -> Request:
    return Request(
        job=asked.job,
        source=asked.source,
        in_place=asked.in_place,
        apply=asked.apply,
        state=asked.state,
        ledger=asked.ledger,
        model=asked.model,
        allow_unsandboxed=asked.allow_unsandboxed,
        versions=dict(versions),
        secrets=tuple(asked.settings.secrets()),
        on_event=view.event,
    )


def _check(asked: Asked) -> None:
    if asked.source is None and (asked.apply or asked.in_place):
        option = "--apply" if asked.apply else "--in-place"
        raise InvalidJob(f"{option} without a source", cure="name the directory: --source DIR")
    for option, file in (("--patch", asked.patch), ("--ledger", asked.ledger)):
        if file is not None:
            _check_file(f"{option} {file}", file)
    if asked.state is not None and asked.state.exists() and not asked.state.is_dir():
        raise InvalidSource(f"--state {asked.state}: is not a directory", cure="name a directory, or a new path")
    if not os.access(asked.settings.temp, os.W_OK | os.X_OK):
        raise InfrastructureError(
            f"{asked.settings.temp}: nothing can be written there", cure="set TMPDIR to a directory of your own"
        )


def _check_file(what: str, file: Path) -> None:
    """Refuse, before anything is paid for, a file that could not be written afterwards."""
    if not file.parent.is_dir():
        raise InvalidSource(f"{what}: there is no directory {file.parent}", cure="make it first")
    if file.is_dir():
        raise InvalidSource(f"{what}: is a directory", cure="name a file in it")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise InvalidSource(f"{what}: cannot be written", cure="check its owner and its mode, or name another file")


def _write_patch(path: Path, result: Result) -> None:
    data = base64.b64decode(result.patch_base64) if result.patch_base64 is not None else (result.patch or "").encode()
    path.write_bytes(data)
