"""Starts the sandboxes of one run, one after the other."""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from pathlib import Path

from claude_flow_dagger.errors import InfrastructureError, OutOfSpace
from claude_flow_dagger.execution.reporter import Reporter
from claude_flow_dagger.execution.request import Request
from claude_flow_dagger.execution.scratch import Scratch
from claude_flow_dagger.job import Network
from claude_flow_dagger.plan import Layout, Plan
from claude_flow_dagger.result import Ending, Outcome
from claude_flow_dagger.runners.base import Runner, Sandbox
from claude_flow_dagger.runners.frames import Frame
from claude_flow_dagger.transcript import Transcript

Planner = Callable[[Layout, str | None], Plan]
"""Makes the plan, given where things are inside and the gateway's socket as seen from inside."""


class Sandboxes:
    """Every sandbox of a run shares its id, limits, mounts and cancellation."""

    def __init__(self, runner: Runner, scratch: Scratch, run_id: str, request: Request, reporter: Reporter) -> None:
        self._runner = runner
        self._scratch = scratch
        self._run_id = run_id
        self._request = request
        self._reporter = reporter

    async def run(
        self,
        purpose: str,
        planner: Planner,
        *,
        workspace: Path,
        network: Network = Network.NONE,
        gateway: Path | None = None,
        protected: tuple[str, ...] = (),
        transcript: Transcript,
        quiet: bool = False,
    ) -> Outcome:
        """Run one sandbox to its end.

        Args:
            purpose: names it; each purpose once a run.
            planner: makes its plan.
            workspace: the directory that it works in.
            network: what it reaches.
            gateway: the gateway's socket, if it gets one.
            protected: what it sees read-only.
            transcript: collects what its processes say.
            quiet: tell nobody what it says.
        """
        control = self._scratch.control(purpose)
        layout = self._runner.layout(workspace, control)
        socket = posixpath.join(layout.control, "gateway.sock") if gateway is not None else None
        sandbox = Sandbox(
            run_id=self._run_id,
            purpose=purpose,
            plan=planner(layout, socket),
            workspace=workspace,
            control=control,
            limits=self._request.job.limits,
            network=network,
            gateway=gateway,
            mounts=tuple(Path(path) for path in self._request.job.mounts),
            protected=protected,
            cancelled=self._request.cancelled,
        )

        def on_frame(frame: Frame) -> None:
            for said in transcript.feed(frame):
                if not quiet:
                    self._reporter.said(said)

        try:
            return await self._runner.run(sandbox, on_frame)
        except OutOfSpace as problem:
            return Outcome(ending=Ending.OUT_OF_SPACE, detail=problem.message)
        except InfrastructureError as problem:
            return Outcome(ending=Ending.BROKEN, detail=problem.message)
