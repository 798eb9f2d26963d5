"""A runner for tests of what sits above runners: plays given frames, starts no process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TypeVar

from claude_flow_dagger.plan import Layout
from claude_flow_dagger.result import Ending, Isolation, Outcome
from claude_flow_dagger.runners.base import Runner, Sandbox
from claude_flow_dagger.runners.frames import Frame

T = TypeVar("T")


class FakeRunner(Runner):
    """Plays a script for every sandbox and keeps the sandboxes that it was given in `sandboxes`.

    Args:
        frames: reported for every sandbox, or a function that makes them from one.
        outcome: what comes of every sandbox, or a function that makes it from one.
        edit: called with each sandbox before its frames, to change its workspace.
        waits: stay until the sandbox is cancelled or its wall time is over, as a run that hangs would.
        sandboxed: what `isolation` claims.
    """

    name = "fake"

    def __init__(
        self,
        frames: Iterable[Frame] | Callable[[Sandbox], Iterable[Frame]] = (),
        outcome: Outcome | Callable[[Sandbox], Outcome] | None = None,
        *,
        edit: Callable[[Sandbox], None] | None = None,
        waits: bool = False,
        sandboxed: bool = True,
    ) -> None:
        self._frames: Callable[[Sandbox], Iterable[Frame]]
        self._frames = frames if callable(frames) else _always(tuple(frames))
        self._outcome: Callable[[Sandbox], Outcome]
        self._outcome = outcome if callable(outcome) else _always(outcome or Outcome(ending=Ending.EXITED, exit_code=0))
        self._edit = edit
        self._waits = waits
        self._held_by: Literal["bubblewrap", "none"] = "bubblewrap" if sandboxed else "none"
        self.sandboxes: list[Sandbox] = []

    async def isolation(self) -> Isolation:
        """What the constructor was told."""
        return Isolation(runner=self.name, sandbox=self._held_by, network_cut=self._held_by != "none")

    def layout(self, workspace: Path, control: Path) -> Layout:
        """The real directories, and tools that don't exist."""
        return Layout(
            workspace=str(workspace),
            home=str(control / "home"),
            tmp=str(control / "tmp"),
            control=str(control),
            node="/fake/node",
            claude_flow="/fake/claude-flow/cli.js",
            claude="/fake/claude",
            entrypoint="/fake/entrypoint.mjs",
        )

    async def run(self, sandbox: Sandbox, on_frame: Callable[[Frame], None]) -> Outcome:
        """Edit, report the frames, wait if told to, return the outcome."""
        self.sandboxes.append(sandbox)
        if self._edit is not None:
            self._edit(sandbox)
        for frame in self._frames(sandbox):
            on_frame(frame)
            await asyncio.sleep(0)  # others get their turn between frames, as with a real one
        if self._waits:
            try:
                await asyncio.wait_for(sandbox.cancelled.wait(), sandbox.limits.wall)
            except TimeoutError:
                return Outcome(ending=Ending.TIMED_OUT)
        if sandbox.cancelled.is_set():
            return Outcome(ending=Ending.CANCELLED)
        return self._outcome(sandbox)


def _always(value: T) -> Callable[[Sandbox], T]:
    return lambda _sandbox: value
