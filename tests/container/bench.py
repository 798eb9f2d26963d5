"""A container runner with a workspace, and what was said; each run has a connection of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from claude_flow_dagger.job import Limits, Network, Pins
from claude_flow_dagger.plan import Plan
from claude_flow_dagger.result import Isolation, Outcome
from claude_flow_dagger.runners.base import Sandbox
from claude_flow_dagger.runners.container import ContainerRunner
from claude_flow_dagger.runners.docker.client import connect
from claude_flow_dagger.runners.docker.image import local_runtime_image
from claude_flow_dagger.runners.frames import Frame, Line

DRIVER = Path(__file__).with_name("container_driver.py")


@dataclass
class Bench:
    """One run's directories, and the daemon that it runs on."""

    base: Path
    address: str
    image: str
    owner: str
    runtime: str | None = None
    frames: list[Frame] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        return self.base / "workspace"

    @property
    def control(self) -> Path:
        return self.base / "control"

    def sandbox(self, script: str, *, plan: dict[str, object] | None = None, **fields: object) -> Sandbox:
        made = {
            "cwd": "/workspace",
            "env": {"PATH": "/usr/bin:/bin", "HOME": "/home/agent", "TMPDIR": "/tmp"},
            "directories": [],
            "steps": [{"name": "main", "argv": ["sh", "-c", script]}],
            "grace_s": 0.5,
            **(plan or {}),
        }
        defaults: dict[str, Any] = {
            "limits": Limits(wall=60),
            "network": Network.MODEL,
            "run_id": self.owner,
            "purpose": "agent",
        }
        return Sandbox(
            plan=Plan.model_validate(made), workspace=self.workspace, control=self.control, **{**defaults, **fields}
        )

    async def _with_runner(self, use: Callable[[ContainerRunner], Any]) -> Any:
        async with connect(self.address) as engine:
            image = await local_runtime_image(engine, self.image, Pins())
            return await use(ContainerRunner(engine, image, owner=self.owner, temp=self.base, runtime=self.runtime))

    def run(self, script: str, **fields: object) -> Outcome:
        sandbox = self.sandbox(script, **fields)
        return asyncio.run(self._with_runner(lambda runner: runner.run(sandbox, self.frames.append)))

    def cancel_at(self, line: str, script: str) -> Outcome:
        """Run, and cancel when this line is heard."""

        async def go() -> Outcome:
            sandbox = self.sandbox(script)

            def on_frame(frame: Frame) -> None:
                self.frames.append(frame)
                if isinstance(frame, Line) and frame.text == line:
                    sandbox.cancelled.set()

            outcome: Outcome = await self._with_runner(lambda runner: runner.run(sandbox, on_frame))
            return outcome

        return asyncio.run(go())

    def isolation(self) -> Isolation:
        found: Isolation = asyncio.run(self._with_runner(lambda runner: runner.isolation()))
        return found

    def driver(self, script: str, *, gateway: Path | None = None) -> subprocess.Popen[str]:
        """The same run in a process of its own, which prints what it hears; to be killed."""
        config = {
            "base": self.base,
            "address": self.address,
            "image": self.image,
            "owner": self.owner,
            "script": script,
        }
        config["gateway"] = gateway
        text = json.dumps({name: None if value is None else str(value) for name, value in config.items()})
        return subprocess.Popen(
            [sys.executable, str(DRIVER), text], stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    @property
    def said(self) -> list[str]:
        return [frame.text for frame in self.frames if isinstance(frame, Line)]
