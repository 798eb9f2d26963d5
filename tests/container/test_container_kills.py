"""However a run in containers ends, nothing of it lives on, and the next start takes away what a kill left."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_flow_dagger.image.engine import Engine
from e2e.conftest import Cli
from e2e.test_kills import GONE_S, PHASES, check_kill, check_signal, check_timeout
from image.image_support import docker

pytestmark = pytest.mark.docker

Left = Callable[[], set[str]]


def running(engine: Engine) -> list[str]:
    return docker(engine, "ps", "--quiet", "--filter", "label=dev.claude-flow-dagger.run").stdout.split()


def check_container_kill(run: Any, greeter: Path, cache_dir: Path, engine: Engine, seed: int, *, soak: bool) -> None:
    """As of the local runner, and a container whose start was under way at the kill ends too."""
    # At "started" a sandbox is tried out, and the run has no directory yet.
    check_kill(run, greeter, cache_dir, seed, soak=soak, phases=PHASES[1:])
    began = time.monotonic()
    while running(engine):
        assert time.monotonic() - began < GONE_S
        time.sleep(0.05)


@pytest.mark.parametrize("seed", range(3))
def test_kill_9(run: Any, greeter: Path, cache_dir: Path, engine: Engine, cli: Cli, left: Left, seed: int) -> None:
    check_container_kill(run, greeter, cache_dir, engine, seed, soak=False)
    assert cli("exec", "--", "memory", "list").code == 0
    assert left() == set()


def test_kill_9_while_a_sandbox_is_tried_out(run: Any, engine: Engine, cli: Cli, left: Left) -> None:
    one = run()
    one.until("started")
    while not left():
        time.sleep(0.01)
    assert all("cfd-probe-" in name for name in left())
    one.process.kill()
    one.process.wait(60)
    one.gone()
    assert cli("runtime", "prune").code == 0
    assert left() == set()


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seed", range(3))
def test_signals(run: Any, greeter: Path, number: int, seed: int) -> None:
    check_signal(run, greeter, number, seed, soak=False)


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("seed", range(3))
def test_timeouts(run: Any, greeter: Path, seed: int) -> None:
    check_timeout(run, greeter, seed)


def test_runtime_prune_takes_away_what_a_kill_left(run: Any, cli: Cli, left: Left) -> None:
    one = run()
    one.until("tool_result")
    assert len(left()) == 3
    # It lives: nobody takes anything from it.
    assert cli("runtime", "prune").code == 0
    assert len(left()) == 3
    one.process.kill()
    one.process.wait(60)
    one.gone()
    pruned = cli("runtime", "prune")
    assert pruned.code == 0
    assert pruned.out.count(f"removed cfd-{one.events[0]['text']}") == 3
    assert left() == set()


@pytest.mark.soak
@pytest.mark.parametrize("round_", range(20))
@pytest.mark.parametrize("how", ["kill", "SIGTERM", "SIGINT", "timeout"])
def test_soak(run: Any, greeter: Path, cache_dir: Path, engine: Engine, how: str, round_: int) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")  # shown when it fails
    if how == "kill":
        check_container_kill(run, greeter, cache_dir, engine, seed, soak=True)
    elif how == "timeout":
        check_timeout(run, greeter, seed)
    else:
        check_signal(run, greeter, getattr(signal, how), seed, soak=True)
