"""However a run ends, nothing of it lives on: not the agent, not its daemons, not claude-flow's own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claude_flow_dagger.execution.scratch import remove_leftovers
from e2e.conftest import TIMEOUT_S, Cli, Place, command, contents, environment

pytestmark = [pytest.mark.real, pytest.mark.sandbox, pytest.mark.usefixtures("runtime")]

GONE_S = 5.0

# An agent that leaves the worst behind: daemons in sessions of their own, one that ignores SIGTERM, a double fork.
DAEMONS = (
    "setsid nohup sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' >/dev/null 2>&1 & "
    "(setsid sh -c 'sleep 300 & exec sleep 300' >/dev/null 2>&1 &); echo changed >> greet.js; echo started"
)
SCRIPT = f"""version: 1
turns:
  - {{text: Daemons first., tools: [{{name: Bash, input: {{command: {json.dumps(DAEMONS)}}}}}]}}
  - {{text: Now a long wait., tools: [{{name: Bash, input: {{command: "while :; do sleep 1; done"}}}}]}}
  - {{text: Done.}}
"""

# Phases of a run, each recognised by an event; a seeded moment is one of them and a little later.
PHASES = ("started", "step", "text", "tool_result")


@dataclass
class Running:
    """A command line that runs, and how to find whatever it started."""

    process: subprocess.Popen[str]
    marker: str
    temp: Path
    events: list[dict[str, Any]]

    def until(self, kind: str) -> None:
        """Read events until one of this kind has come."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["type"] == kind:
                return
        pytest.fail(f"ended without an event {kind}: {self.events[-1:]}")

    def alive(self) -> list[str]:
        """Every process of the run: the marker is in its environment, or the run's own directory in its arguments."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdecimal() or int(entry.name) in (os.getpid(), self.process.pid):
                continue
            try:
                environ, words = (entry / "environ").read_bytes(), (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            place = os.fsencode(self.temp)
            ours = self.marker.encode() in environ or place in environ or place in words
            if ours and state not in "ZX":
                found.append(f"{entry.name} {words!r}")
        return found

    def gone(self) -> float:
        """Seconds until nothing of the run lived any more.

        Fails when that takes longer than `GONE_S`.
        """
        began = time.monotonic()
        while (left := self.alive()) and time.monotonic() - began < GONE_S:
            time.sleep(0.02)
        assert not left
        return time.monotonic() - began


@pytest.fixture
def run(greeter: Path, place: Place) -> Iterator[Any]:
    temp = Path(tempfile.mkdtemp(prefix="k", dir="/tmp"))
    script = temp / "script.yaml"
    script.write_text(SCRIPT)
    started: list[subprocess.Popen[str]] = []

    def begin(*words: object, **env: str) -> Running:
        marker = f"mark-{uuid.uuid4().hex}"
        options = ("--source", greeter, "--model-script", script, "--env", f"MARKER={marker}", "--output", "ndjson")
        process = subprocess.Popen(
            command("run", *place.options, "x", "--apply", *options, *words),
            env=environment({"TMPDIR": str(temp), **{name: str(temp / place) for name, place in env.items()}}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return Running(process, marker, temp, [])

    yield begin
    for process in started:
        process.kill()
        process.communicate()
    shutil.rmtree(temp)


def moment(running: Running, chance: random.Random, soak: bool, phases: Sequence[str] = PHASES) -> None:
    """Wait for a seeded moment of the run: the beginning of a phase, and a part of a second more."""
    running.until(chance.choice(phases))
    # Not a synchronisation: the random part of the moment.
    time.sleep(chance.uniform(0, 1.5 if soak else 0.4))


def check_kill(run: Any, greeter: Path, cache_dir: Path, seed: int, soak: bool, phases: Sequence[str] = PHASES) -> None:
    before = contents(greeter)
    running = run()
    moment(running, random.Random(seed), soak, phases)
    running.process.kill()
    running.process.wait(TIMEOUT_S)
    running.gone()
    assert contents(greeter) == before
    # What it left on the disk is found by the next start.
    assert [path for path in (cache_dir / "runs").iterdir() if path.name == running.events[0]["text"]]
    remove_leftovers(cache_dir)
    assert not [path for path in (cache_dir / "runs").iterdir() if path.name == running.events[0]["text"]]
    assert not list(running.temp.glob("cfd-*"))


def check_signal(run: Any, greeter: Path, number: int, seed: int, soak: bool) -> None:
    before = contents(greeter)
    running = run()
    moment(running, random.Random(seed), soak)
    running.process.send_signal(number)
    out, err = running.process.communicate(timeout=30)
    assert running.process.returncode == 130, err
    running.gone()
    last = json.loads(out.splitlines()[-1])
    assert (last["type"], last["result"]["verdict"]) == ("result", "cancelled")
    assert contents(greeter) == before
    assert not list(running.temp.glob("cfd-*"))


def check_timeout(run: Any, greeter: Path, seed: int) -> None:
    before = contents(greeter)
    running = run("--timeout", f"{random.Random(seed).uniform(0.3, 6):.2f}s")
    out, err = running.process.communicate(timeout=60)
    assert running.process.returncode == 124, err
    running.gone()
    assert json.loads(out.splitlines()[-1])["result"]["verdict"] == "timed_out"
    assert contents(greeter) == before
    assert not list(running.temp.glob("cfd-*"))


@pytest.mark.parametrize("seed", range(3))
def test_kill_9(run: Any, greeter: Path, cache_dir: Path, seed: int) -> None:
    check_kill(run, greeter, cache_dir, seed, soak=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("seed", range(3))
def test_signals(run: Any, greeter: Path, number: int, seed: int) -> None:
    check_signal(run, greeter, number, seed, soak=False)


@pytest.mark.parametrize("seed", range(3))
def test_timeouts(run: Any, greeter: Path, seed: int) -> None:
    check_timeout(run, greeter, seed)


def test_daemons_do_live_during_the_run(run: Any) -> None:
    """The finder of processes finds them: otherwise the tests above could not fail."""
    running = run()
    running.until("tool_result")
    words = " ".join(running.alive())
    assert "trap" in words
    assert "mcp" in words
    assert "warden" in words
    running.process.kill()
    running.process.wait(TIMEOUT_S)
    running.gone()


def test_the_next_start_sweeps(run: Any, cli: Cli, cache_dir: Path) -> None:
    running = run()
    running.until("step")
    running.process.kill()
    running.process.wait(TIMEOUT_S)
    running.gone()
    assert list(running.temp.glob("cfd-*"))
    assert cli("exec", "--", "memory", "list", env={"TMPDIR": str(running.temp)}).code == 0
    assert not list(running.temp.glob("cfd-*"))
    assert running.events[0]["text"] not in {path.name for path in (cache_dir / "runs").iterdir()}


def test_a_reader_that_leaves(run: Any) -> None:
    """As in `… --output ndjson | head -1`: the next event finds nobody, and that is the end of the run."""
    running = run()
    running.until("step")
    assert running.process.stdout is not None
    running.process.stdout.close()
    running.process.stdout = None
    _, err = running.process.communicate(timeout=30)
    assert (running.process.returncode, err) == (141, "")
    running.gone()
    assert not list(running.temp.glob("cfd-*"))


def test_a_terminal_that_closes_and_a_second_signal(run: Any, greeter: Path) -> None:
    before = contents(greeter)
    running = run()
    running.until("tool_result")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        running.process.send_signal(number)
    out, err = running.process.communicate(timeout=30)
    assert (running.process.returncode, err) == (130, "")
    assert json.loads(out.splitlines()[-1])["result"]["verdict"] == "cancelled"
    running.gone()
    assert contents(greeter) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_while_the_runtime_is_installed(run: Any, greeter: Path, number: int) -> None:
    before = contents(greeter)
    running = run(XDG_CACHE_HOME="cache")
    cache = running.temp / "cache"
    assert running.process.stderr is not None
    first = running.process.stderr.readline()
    assert "downloading" in first
    deadline = time.monotonic() + 30
    # npm works: it has begun to write, and is found.
    while not (list(cache.glob("claude-flow-dagger/npm/_logs/*")) and running.alive()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.process.send_signal(number)
    out, _ = running.process.communicate(timeout=30)
    running.gone()
    assert contents(greeter) == before
    if number == signal.SIGKILL:
        return
    assert running.process.returncode == 130
    assert json.loads(out)["error"]["code"] == "cancelled"
    assert list((cache / "claude-flow-dagger" / "runtime").iterdir()) == []


@pytest.mark.soak
@pytest.mark.parametrize("round_", range(20))
@pytest.mark.parametrize("how", ["kill", "SIGTERM", "SIGINT", "timeout"])
def test_soak(run: Any, greeter: Path, cache_dir: Path, how: str, round_: int) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed {seed}")  # shown when it fails
    if how == "kill":
        check_kill(run, greeter, cache_dir, seed, soak=True)
    elif how == "timeout":
        check_timeout(run, greeter, seed)
    else:
        check_signal(run, greeter, getattr(signal, how), seed, soak=True)
