"""What kills leave on the disk, and runs that are stopped before they begin."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from claude_flow_dagger.events import Event, EventType
from claude_flow_dagger.execution import ModelSource, Request, execute
from claude_flow_dagger.execution.scratch import open_scratch, remove_leftovers
from claude_flow_dagger.gateway.script.load import load_script
from claude_flow_dagger.gateway.script.upstream import ScriptUpstream
from claude_flow_dagger.job import AgentJob
from claude_flow_dagger.runners.fake import FakeRunner
from e2e.conftest import GREETER

HOUR_S = 3600


def test_what_was_never_locked_is_swept_once_it_is_old(tmp_path: Path) -> None:
    runs = tmp_path / "cache" / "runs"
    runs.mkdir(parents=True)
    # Killed between making the directory and its lock, and while a sandbox was tried out.
    old, probe, fresh = runs / ".new-old", runs / "sandbox-old", runs / ".new-fresh"
    for path in (old, probe, fresh):
        path.mkdir()
    (old / "lock").touch()
    (probe / "etc").mkdir()
    for path in (old, probe):
        os.utime(path, (time.time() - HOUR_S,) * 2)
    with open_scratch(tmp_path / "cache", tmp_path, "living") as living:
        # However long it takes: its lock is held.
        os.utime(living.root, (time.time() - HOUR_S,) * 2)
        assert remove_leftovers(tmp_path / "cache") == []
        assert sorted(path.name for path in runs.iterdir()) == [".new-fresh", "living"]
        assert living.temp.is_dir()
    assert not living.temp.exists()
    assert [path.name for path in runs.iterdir()] == [".new-fresh"]


def test_only_our_own_directory_is_removed_on_the_word_of_a_file(tmp_path: Path) -> None:
    root, precious = tmp_path / "cache" / "runs" / "killed", tmp_path / "precious"
    root.mkdir(parents=True)
    precious.mkdir()
    (root / "lock").touch()
    (root / "temp").write_text(str(precious))
    assert remove_leftovers(tmp_path / "cache") == [root]
    assert precious.is_dir()


def test_a_run_that_is_cancelled_while_its_source_is_copied(tmp_path: Path) -> None:
    """Watches the copy: it stops at once, or would come to the file that is too large for it and say so."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "large").open("wb") as file:
        file.truncate(64 << 30)
    runner = FakeRunner()
    cancelled = asyncio.Event()

    def on_event(event: Event) -> None:
        if event.type is EventType.PROGRESS:
            cancelled.set()

    fields: dict[str, Any] = {"source": source, "on_event": on_event, "cancelled": cancelled}
    model = ModelSource(upstream=ScriptUpstream(load_script(GREETER / "french.yaml"), name="x"), scripted=True)
    request = Request(job=AgentJob(objective="x"), model=model, **fields)
    result = asyncio.run(execute(request, runner, cache=tmp_path / "cache", temp=tmp_path))
    assert (result.verdict, result.exit_code) == ("cancelled", 130)
    assert runner.sandboxes == []
    assert list((tmp_path / "cache" / "runs").iterdir()) == []
