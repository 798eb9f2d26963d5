"""Frames out of chunks, and the runner that plays them."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from claude_flow_dagger.job import Limits, Network
from claude_flow_dagger.plan import Plan, Step
from claude_flow_dagger.result import Ending, Outcome
from claude_flow_dagger.runners.base import Sandbox
from claude_flow_dagger.runners.fake import FakeRunner
from claude_flow_dagger.runners.frames import MAX_FRAME, Exited, Line, Noise, StepStarted
from claude_flow_dagger.runners.splitter import FrameSplitter

STREAM = (
    b'{"frame":"start","step":"a"}\n{"frame":"line","step":"a","fd":1,"text":"\xc3\xa9"}\n'
    b'noise\n{"frame":"exit","code":3}\nrest'
)
FRAMES = [StepStarted("a"), Line("a", 1, "é"), Noise("noise"), Exited(3), Noise("rest")]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_the_chunks_do_not_matter(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    splitter = FrameSplitter()
    frames = [frame for at, to in pairwise(edges) for frame in splitter.feed(STREAM[at:to])]
    assert [*frames, *splitter.close()] == FRAMES
    assert splitter.close() == []


def test_what_is_longer_than_a_frame_is_noise_and_never_held_whole():
    splitter = FrameSplitter()
    pieces = splitter.feed(b"x" * (2 * MAX_FRAME + 5))
    assert [len(piece.text) for piece in pieces] == [MAX_FRAME, MAX_FRAME]
    assert splitter.feed(b"\n") == [Noise("xxxxx")]
    whole = splitter.feed(b"y" * (MAX_FRAME + 1) + b"\n")
    assert [len(piece.text) for piece in whole] == [MAX_FRAME, 1]
    assert all(isinstance(piece, Noise) for piece in whole)


def make(tmp_path: Path, wall: float = 60) -> Sandbox:
    plan = Plan(cwd="/", env={}, steps=(Step(name="main", argv=("x",)),))
    return Sandbox(
        run_id="r",
        purpose="agent",
        plan=plan,
        workspace=tmp_path,
        control=tmp_path,
        limits=Limits(wall=wall),
        network=Network.NONE,
    )


def test_the_fake_plays_its_script_and_edits(tmp_path):
    runner = FakeRunner(
        FRAMES, Outcome(ending=Ending.EXITED, exit_code=3), edit=lambda box: (box.workspace / "f").touch()
    )
    heard: list[object] = []
    sandbox = make(tmp_path)
    assert asyncio.run(runner.run(sandbox, heard.append)).exit_code == 3
    assert heard == FRAMES
    assert runner.sandboxes == [sandbox]
    assert (tmp_path / "f").exists()
    assert runner.layout(tmp_path, tmp_path).workspace == str(tmp_path)
    assert asyncio.run(runner.isolation()).network_cut
    assert asyncio.run(FakeRunner(sandboxed=False).isolation()).sandbox == "none"


def test_the_fake_decides_by_sandbox(tmp_path):
    runner = FakeRunner(
        lambda box: [StepStarted(box.purpose)], lambda box: Outcome(ending=Ending.BROKEN, detail=box.run_id)
    )
    heard: list[object] = []
    assert asyncio.run(runner.run(make(tmp_path), heard.append)).detail == "r"
    assert heard == [StepStarted("agent")]


def test_the_fake_waits_for_cancellation_or_its_time(tmp_path):
    async def cancelled() -> Outcome:
        sandbox = make(tmp_path)
        task = asyncio.create_task(FakeRunner(waits=True).run(sandbox, lambda _frame: None))
        await asyncio.sleep(0)
        assert not task.done()
        sandbox.cancelled.set()
        return await task

    assert asyncio.run(cancelled()).ending is Ending.CANCELLED
    short = FakeRunner(waits=True).run(make(tmp_path, wall=0.05), lambda _frame: None)
    assert asyncio.run(short).ending is Ending.TIMED_OUT
