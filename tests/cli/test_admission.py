"""Runs wait for memory, one after the other, and never for ever."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from claude_flow_dagger.cli import admission
from claude_flow_dagger.cli.admission import MIB, RESERVE, SETTLING_S, admitted, fits, free_memory


def test_what_fits() -> None:
    need = 100 * MIB
    assert fits(RESERVE + need, need, {}, 1000.0)
    assert not fits(RESERVE + need - 1, need, {}, 1000.0)
    # One that was let in a moment ago does not show in what is free; later it does.
    assert not fits(RESERVE + need, need, {"999.5": need}, 1000.0)
    assert fits(RESERVE + need, need, {str(1000.0 - SETTLING_S): need}, 1000.0)
    # A clock that was set back claims nothing.
    assert fits(RESERVE + need, need, {"2000.0": need}, 1000.0)


def test_free_memory_is_this_machines() -> None:
    assert 0 < free_memory() < 1 << 62


async def enter(directory: Path, log: list[str], name: str, leave: asyncio.Event, cancelled: asyncio.Event) -> None:
    async with admitted(directory, 100 * MIB, cancelled, lambda text: log.append(f"{name} waits")):
        log.append(f"{name} in")
        await leave.wait()
    log.append(f"{name} out")


async def until(log: list[str], line: str) -> None:
    async with asyncio.timeout(20):
        while line not in log:  # noqa: ASYNC110 - what is waited for is a list
            await asyncio.sleep(0.01)


def test_alone_it_is_let_in_and_others_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "free_memory", lambda: 0)

    async def go() -> None:
        log: list[str] = []
        first, second, never = asyncio.Event(), asyncio.Event(), asyncio.Event()
        a = asyncio.create_task(enter(tmp_path / "x", log, "a", first, never))
        await until(log, "a in")
        b = asyncio.create_task(enter(tmp_path / "x", log, "b", second, never))
        await until(log, "b waits")
        assert "b in" not in log
        first.set()
        await until(log, "b in")
        second.set()
        await asyncio.gather(a, b)

    asyncio.run(go())


def test_a_cancelled_one_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "free_memory", lambda: 0)

    async def go() -> None:
        log: list[str] = []
        leave, never, cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        a = asyncio.create_task(enter(tmp_path, log, "a", leave, never))
        await until(log, "a in")
        b = asyncio.create_task(enter(tmp_path, log, "b", leave, cancelled))
        c = asyncio.create_task(enter(tmp_path, log, "c", leave, cancelled))
        await until(log, "b waits")
        await until(log, "c waits")
        cancelled.set()
        await until(log, "b in")
        await until(log, "c in")
        leave.set()
        await asyncio.gather(a, b, c)

    asyncio.run(go())


HOLD = """
import asyncio, sys
from pathlib import Path
from claude_flow_dagger.cli.admission import admitted
async def go():
    async with admitted(Path(sys.argv[1]), 1, asyncio.Event(), print):
        print("in", flush=True)
        await asyncio.sleep(300)
asyncio.run(go())
"""


def test_what_a_killed_one_held_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "free_memory", lambda: 0)
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"

    async def go() -> None:
        log: list[str] = []
        leave, never = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(enter(tmp_path, log, "a", leave, never))
        await until(log, "a waits")
        process.send_signal(signal.SIGKILL)
        await until(log, "a in")
        leave.set()
        await task

    asyncio.run(go())
    process.communicate(timeout=10)
