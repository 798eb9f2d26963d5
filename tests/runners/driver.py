"""A process that runs one sandbox, to be killed or to run as somebody else. Arguments: a JSON file of what to do."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace

from claude_flow_dagger.job import Limits, Network
from claude_flow_dagger.plan import Plan
from claude_flow_dagger.runners.base import Sandbox
from claude_flow_dagger.runners.frames import Frame, Line
from claude_flow_dagger.runners.host import Missing
from claude_flow_dagger.runners.local import LocalRunner


async def main(config: dict[str, object]) -> None:
    base = Path(str(config["base"]))
    workspace, control = base / "workspace", base / "control"
    workspace.mkdir(exist_ok=True)
    control.mkdir(mode=0o700, exist_ok=True)
    paths = dict(config["runtime"])  # type: ignore[call-overload]
    runtime = SimpleNamespace(**{name: None if path is None else Path(path) for name, path in paths.items()})
    runner = LocalRunner(runtime, allow_unsandboxed=True, scratch=base)  # type: ignore[arg-type]
    if config["plain"]:
        runner._found = Missing("switched off", "nothing")
    layout = runner.layout(workspace, control)
    plan = Plan.model_validate(
        {"cwd": layout.workspace, "env": {"PATH": "/usr/bin:/bin"}, "steps": [{"name": "main", "argv": config["argv"]}]}
    )
    sandbox = Sandbox(
        run_id="driver",
        purpose="agent",
        plan=plan,
        workspace=workspace,
        control=control,
        limits=Limits(),
        network=Network.NONE,
    )

    def say(frame: Frame) -> None:
        if isinstance(frame, Line):
            print(frame.text, flush=True)

    print("started", flush=True)
    outcome = await runner.run(sandbox, say)
    print(f"{(await runner.isolation()).sandbox} {outcome.model_dump_json()}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text())))
