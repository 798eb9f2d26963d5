"""The warden as a process of its own, around plain processes. Not under -S here, so that coverage sees it."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from processes import alive, eventually

from claude_flow_dagger.runners import warden
from claude_flow_dagger.runners.warden import Process, below, end_all, parse_stat

SCRIPT = Path(warden.__file__)
MIB = 1024**2


class Guarded:
    """A warden that runs, its lifeline and its report."""

    def __init__(self, *argv: str, **config: object) -> None:
        reading, writing = os.pipe()
        settings = {
            "argv": argv,
            "report_fd": writing,
            "memory": 1024 * MIB,
            "pids": 200,
            "cpus": 1000.0,
            "wall": 60.0,
            "grace": 1.0,
            "depth": 0,
            "plain": True,
            **config,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "claude_flow_dagger.runners.warden", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        self._report = os.fdopen(reading)

    def until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line.decode():
                return
        raise AssertionError(f"never said {text!r}")

    def say(self, text: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def hang_up(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def report(self) -> dict[str, object]:
        """The one line that it leaves; it is dead afterwards."""
        text = self._report.read()
        self.process.wait(timeout=20)
        assert text.count("\n") == 1
        return json.loads(text)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for end in (self.process.stdin, self.process.stdout, self.process.stderr, self._report):
            assert end is not None
            with suppress(BrokenPipeError):
                end.close()


@pytest.fixture
def guard() -> Iterator[type[Guarded]]:
    made: list[Guarded] = []

    def make(*argv: str, **config: object) -> Guarded:
        made.append(Guarded(*argv, **config))
        return made[-1]

    yield make  # type: ignore[misc]
    for one in made:
        one.close()


def python(code: str, *argv: str) -> tuple[str, ...]:
    return ("/usr/bin/env", "-i", sys.executable, "-I", "-S", "-c", code, *argv)


def shell(script: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", script)


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_reports_how_the_child_ended(guard, script, code):
    report = guard(*shell(script)).report()
    assert (report["ending"], report["code"], report["left"]) == ("exited", code, [])


def test_the_child_gets_an_empty_environment_and_no_input(guard):
    run = guard(*shell("cat; env; echo end"))
    assert run.report()["ending"] == "exited"
    assert run.process.stdout.read() == f"PWD={Path.cwd()}\nend\n".encode()  # PWD is the shell's own


def test_a_child_that_does_not_exist_is_127_and_named(guard):
    run = guard("/no/such/program")
    assert run.report()["code"] == 127
    assert b"/no/such/program" in run.process.stderr.read()


def test_a_memory_hog_is_killed_and_reported(guard, marker):
    hog = "import time\nheld=[]\nwhile True:\n held.append(bytearray(8<<20)); time.sleep(0.005)"
    report = guard(*python(hog, marker), memory=128 * MIB).report()
    assert report["ending"] == "out_of_memory"
    assert 128 * MIB < report["peak"] < 1024 * MIB
    assert alive(marker) == []


def test_memory_is_that_of_the_whole_tree(guard, marker):
    one = (
        "import os,time\nfor _ in range(5): os.fork() or (setattr(os,'x',bytearray(b'x'*(40<<20))), time.sleep(60))\n"
        "time.sleep(60)"
    )
    report = guard(*python(one, marker), memory=150 * MIB).report()
    assert report["ending"] == "out_of_memory"
    assert alive(marker) == []


def test_pages_that_forked_processes_share_count_once(guard):
    code = (
        "import os,time\nheld=bytearray(b'x'*(60<<20))\n"
        "for _ in range(4):\n if os.fork()==0: time.sleep(1); os._exit(0)\ntime.sleep(1)"
    )
    report = guard(*python(code), memory=150 * MIB).report()
    assert (report["ending"], report["code"]) == ("exited", 0)
    assert 60 * MIB < report["peak"] < 150 * MIB


def test_a_fork_bomb_is_bounded_and_killed(guard, marker):
    # Bounded by itself too, should the warden fail: 400 at most.
    bomb = "import os,sys,time\nfor _ in range(400):\n if os.fork()==0: time.sleep(60)\ntime.sleep(60)"
    report = guard(*python(bomb, marker), pids=64).report()
    assert report["ending"] == "too_many_processes"
    assert report["left"] == []
    assert alive(marker) == []


def test_threads_count_as_processes_do(guard, marker):
    many = (
        "import threading,time\n"
        "for _ in range(100): threading.Thread(target=time.sleep,args=(60,),daemon=True).start()\ntime.sleep(60)"
    )
    assert guard(*python(many, marker), pids=64).report()["ending"] == "too_many_processes"


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1)
        time.sleep(60)
    os._exit(0)
print("ready", flush=True)
time.sleep(float(sys.argv[2]))
"""


def test_a_daemon_that_forked_twice_dies_with_the_child(guard, marker):
    run = guard(*python(DAEMON, marker, "0.2"))
    assert run.report()["ending"] == "exited"
    assert alive(marker) == []


def test_the_end_of_the_lifeline_kills_everything(guard, marker):
    run = guard(*python(DAEMON, marker, "60"))
    run.until("ready")
    assert eventually(lambda: len(alive(marker)) >= 2)
    run.hang_up()
    assert run.report()["ending"] == "orphaned"
    assert alive(marker) == []


def test_a_gentle_stop_lets_the_child_end_by_itself(guard):
    run = guard(*shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"))
    run.until("ready")
    run.say(b"T")
    report = run.report()
    assert (report["ending"], report["code"]) == ("stopped", 7)


def test_what_ignores_a_gentle_stop_is_killed_after_the_grace(guard, marker):
    run = guard(
        *python(
            "import signal,time\nsignal.signal(15,signal.SIG_IGN)\nprint('ready',flush=True)\ntime.sleep(60)", marker
        ),
        grace=0.2,
    )
    run.until("ready")
    began = time.monotonic()
    run.say(b"T")
    assert run.report()["ending"] == "stopped"
    assert time.monotonic() - began < 10
    assert alive(marker) == []


def test_a_stop_reaches_the_process_that_is_meant(guard):
    # Two levels down, as under bubblewrap; an older sibling's younger brother is not it.
    inner = "trap 'echo inner; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    middle = f'sh -c "{inner}" & wait $!; exit $?'
    run = guard(
        "/bin/sh",
        "-c",
        f"trap 'echo outer' TERM; sh -c '{middle.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'; exit $?",
        depth=2,
    )
    run.until("ready")
    run.say(b"T")
    report = run.report()
    assert (report["ending"], report["code"]) == ("stopped", 9)
    assert run.process.stdout.read() == b"inner\n"


def test_a_stop_before_the_entrypoint_is_there_ends_it(guard, marker):
    run = guard(*python("print('ready',flush=True)\nimport time\ntime.sleep(60)", marker), depth=2, grace=60.0)
    run.until("ready")
    run.say(b"T")
    assert run.report()["ending"] == "stopped"
    assert alive(marker) == []


def test_a_signal_to_the_warden_is_a_gentle_stop(guard):
    run = guard(*shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"))
    run.until("ready")
    run.process.send_signal(signal.SIGTERM)
    report = run.report()
    assert (report["ending"], report["code"]) == ("stopped", 7)


def test_the_backstop_ends_what_lasts_too_long(guard, marker):
    report = guard(*python("import time\ntime.sleep(60)", marker), wall=0.5).report()
    assert report["ending"] == "timed_out"
    assert alive(marker) == []


def test_a_killed_warden_takes_the_entrypoint_along(guard, marker):
    run = guard(*python("print('ready',flush=True)\nimport time\ntime.sleep(60)", marker))
    run.until("ready")
    os.kill(run.process.pid, signal.SIGKILL)
    assert eventually(lambda: alive(marker) == [run.process.pid] or alive(marker) == [], 5)
    run.process.wait()
    assert eventually(lambda: alive(marker) == [], 5)


def test_processors_are_pinned_to_the_limit_rounded_up(guard):
    count = "import os\nprint('cpus', len(os.sched_getaffinity(0)), flush=True)"
    run = guard(*python(count), cpus=0.5)
    assert run.report()["ending"] == "exited"
    assert run.process.stdout.read() == b"cpus 1\n"


def test_it_kills_only_its_own(guard, marker):
    bystander = subprocess.Popen(["/bin/sleep", "60"], env={"MARKER": marker}, start_new_session=True)
    try:
        run = guard(*shell("echo ready; sleep 60"))
        run.until("ready")
        run.hang_up()
        assert run.report()["ending"] == "orphaned"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_report_that_nobody_reads_is_no_crash(guard):
    run = guard(*shell("echo ready; sleep 60"))
    run.until("ready")
    run._report.close()
    run._report = Path(os.devnull).open()  # noqa: SIM115 - closed by the fixture
    run.hang_up()
    assert run.process.wait(timeout=20) == 1
    assert run.process.stderr.read() == b""


def test_names_with_brackets_and_spaces_do_not_confuse_it():
    fields = "S 7 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 3 0 4711 " + "0 " * 30
    process = parse_stat(f"42 (a ) R (b) {fields}")
    assert (process.pid, process.parent, process.threads, process.start, process.dead) == (42, 7, 3, 4711, False)
    assert parse_stat(f"42 (x) {fields.replace('S', 'Z', 1)}").dead


def test_descendants_are_found_at_any_depth_and_nobody_else():
    table = {pid: Process(pid, parent, 0, 1, False) for pid, parent in ((2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (1, 0))}
    assert [process.pid for process in below(2, table)] == [3, 4]


def test_only_the_standard_library_is_imported():
    names = {
        alias.name
        for node in ast.walk(ast.parse(SCRIPT.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    froms = {node.module for node in ast.walk(ast.parse(SCRIPT.read_text())) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names | froms} <= sys.stdlib_module_names


def test_nothing_to_end_is_no_work():
    # In a process of its own, since it would end everything that this one started.
    code = "from claude_flow_dagger.runners.warden import end_all; print(end_all())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "({}, [])\n"
    assert end_all.__doc__
