"""Where a job runs: each runner with what it needs, got ready before the run and closed after it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from claude_flow_dagger.cli.container import ContainerOptions, container_runner, prepare_image
from claude_flow_dagger.cli.install import ensure_runtime
from claude_flow_dagger.cli.options import RunnerName
from claude_flow_dagger.cli.show import View
from claude_flow_dagger.config import Settings
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runners.base import Runner
from claude_flow_dagger.runners.local import LocalRunner
from claude_flow_dagger.runtime.install import Runtime, in_use


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The place that was asked for.

    Args:
        runner: which.
        container: options that only the container runner has.
        pins: the versions.
        with_claude: Claude Code too.
    """

    runner: RunnerName
    container: ContainerOptions
    pins: Pins
    with_claude: bool

    def check(self) -> None:
        """Refuse options that the runner would ignore.

        Raises:
            InvalidJob: one was given.
        """
        if self.runner is not RunnerName.CONTAINER:
            self.container.refuse_elsewhere(self.runner)


def prepare(wanted: Wanted, settings: Settings, view: View) -> Runtime | str:
    """What takes long and is kept: the runtime in the cache, or the name of an image.

    Raises:
        ClaudeFlowDaggerError: it cannot be had.
    """
    if wanted.runner is RunnerName.CONTAINER:
        return prepare_image(settings, wanted.container, wanted.pins, view)
    return ensure_runtime(settings, wanted.pins, with_claude=wanted.with_claude, view=view)


@asynccontextmanager
async def open_runner(
    wanted: Wanted, prepared: Runtime | str, settings: Settings
) -> AsyncIterator[tuple[Runner, Mapping[str, str]]]:
    """The runner, and the versions of what is in it.

    Args:
        wanted: which.
        prepared: what `prepare` gave.
        settings: of this process.

    Raises:
        ClaudeFlowDaggerError: it cannot be had.
    """
    if isinstance(prepared, str):
        async with container_runner(settings, wanted.container, prepared, wanted.pins) as (container, versions):
            yield container, versions
        return
    with in_use(prepared):
        # What trying out a sandbox leaves behind after a kill is swept with the runs.
        runs = settings.cache / "runs"
        runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Whether plain processes will do is decided by what the run holds: see `execute`.
        yield (
            LocalRunner(prepared, allow_unsandboxed=True, scratch=runs, ca_bundle=settings.ca_bundle),
            prepared.versions,
        )
