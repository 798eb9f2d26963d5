"""The border between a job and the place where it runs."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from claude_flow_dagger.job import Limits, Network
from claude_flow_dagger.plan import Layout, Plan
from claude_flow_dagger.result import Isolation, Outcome
from claude_flow_dagger.runners.frames import Frame


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """One sandbox to start: what runs in it, what it sees and what it may use.

    Args:
        run_id: the run's id; a runner names its container or Job after it and `purpose`.
        purpose: `agent`, `memory` or `verify`: a run starts several sandboxes, one after the other.
        plan: what the entrypoint does.
        workspace: a directory of this machine, the layout's workspace inside, writable; it shows the result afterwards.
        control: a private directory (0700) of this sandbox on this machine; `plan.json` is written here.
        gateway: the gateway's unix socket, or None when the sandbox gets none.
        protected: paths relative to the workspace that the sandbox sees read-only, such as `.git` of a run in place.
    """

    run_id: str
    purpose: str
    plan: Plan
    workspace: Path
    control: Path
    limits: Limits
    network: Network
    gateway: Path | None = None
    mounts: tuple[Path, ...] = ()
    protected: tuple[str, ...] = ()
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


class Runner(ABC):
    """Where runs happen. One method starts a sandbox and sees it through to its end; nothing of it lives afterwards."""

    name: ClassVar[str]

    @abstractmethod
    async def isolation(self) -> Isolation:
        """What holds a sandbox here. Measured by starting one, not assumed."""

    @abstractmethod
    def layout(self, workspace: Path, control: Path) -> Layout:
        """Where things are inside a sandbox with this workspace and control directory; pure."""

    @abstractmethod
    async def run(self, sandbox: Sandbox, on_frame: Callable[[Frame], None]) -> Outcome:
        """Run a sandbox to its end.

        Every way out leaves no process behind. Wall time, cancellation, memory and process limits are endings of the
        outcome, not exceptions.

        Args:
            sandbox: what to run.
            on_frame: called for every frame of the entrypoint, in order, as it arrives.

        Raises:
            SandboxError: it could not be started.
        """
