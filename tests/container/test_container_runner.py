"""The container runner on a real daemon: what goes in, what comes out, how it ends, and what remains."""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench import Bench

from claude_flow_dagger.errors import RefusedInput, UnsafeRun
from claude_flow_dagger.image.engine import Engine
from claude_flow_dagger.job import Limits, Network
from claude_flow_dagger.result import Ending
from claude_flow_dagger.runners.docker.client import connect, find_address
from claude_flow_dagger.runners.docker.prune import prune_leftovers
from claude_flow_dagger.runners.frames import Line
from container.conftest import inspected, listed
from image.image_support import docker

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("nothing_left")]

ENDS_S = 5.0
"""Within which a container without its gateway is at its end: 3 s, and what a busy machine adds."""


@pytest.fixture
def bench(agent: str) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="cfd-", ignore_cleanup_errors=True) as directory:
        base = Path(directory)
        (base / "workspace").mkdir()
        (base / "control").mkdir(mode=0o700)
        address = find_address(os.environ.get("DOCKER_HOST"), None, Path.home())
        yield Bench(base, address, agent, f"test-{secrets.token_hex(6)}")


def test_files_go_in_and_come_out_as_they_are(bench: Bench) -> None:
    work = bench.workspace
    (work / "in").write_text("given\n")
    (work / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (work / "run.sh").chmod(0o755)
    (work / "goes" / "deep").mkdir(parents=True)
    (work / "goes" / "deep" / "file").write_text("x")
    (work / "link").symlink_to("in")
    (work / "two\nlines").write_text("a")
    (work / os.fsdecode(b"latin-\xe9")).write_text("b")
    long = work / ("n" * 200) / ("m" * 200)
    long.parent.mkdir()
    long.write_text("long")
    kept = (work / "in").stat().st_ino
    script = (
        "./run.sh; cat in; cat nnn*/mmm*; echo; ls -q | wc -l; rm -r goes; mkdir empty; ln in hard; "
        "ln -s /etc/passwd out; printf '\\000\\377' > bin; chmod 700 bin; mkfifo pipe; echo err >&2; exit 3"
    )
    outcome = bench.run(script)
    assert (outcome.ending, outcome.exit_code) == (Ending.EXITED, 3), outcome.detail
    assert sorted(bench.said) == ["7", "err", "given", "long", "ran"]
    names = ("bin", "empty", "hard", "in", os.fsdecode(b"latin-\xe9"), "link", "n" * 200, "out", "run.sh", "two\nlines")
    assert {path.name for path in work.iterdir()} == set(names)
    assert (work / "bin").read_bytes() == b"\x00\xff"
    assert stat.S_IMODE((work / "bin").stat().st_mode) == 0o700
    assert stat.S_IMODE((work / "run.sh").stat().st_mode) == 0o755
    assert (work / "link").readlink() == Path("in")
    assert (work / "out").readlink() == Path("/etc/passwd")
    # A hard link comes back as a file of its own, and what did not change was not written.
    assert (work / "hard").read_text() == "given\n"
    assert (work / "in").stat().st_ino == kept
    assert {path.lstat().st_uid for path in work.iterdir()} == {os.geteuid()}


def test_what_is_protected_stays_whatever_happened_to_it(bench: Bench) -> None:
    (bench.workspace / ".git").mkdir()
    (bench.workspace / ".git" / "config").write_text("mine")
    assert bench.run("echo theirs > .git/config; touch .git/new made", protected=(".git",)).exit_code == 0
    assert [path.name for path in (bench.workspace / ".git").iterdir()] == ["config"]
    assert (bench.workspace / ".git" / "config").read_text() == "mine"
    assert (bench.workspace / "made").exists()


def test_a_sandbox_has_no_powers(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "given").write_text("readable\n")
    script = (
        "id -u; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status;"
        "env | cut -d= -f1 | sort | tr '\\n' ' '; echo;"
        "touch /usr/x /etc/x /opt/claude-flow-dagger/x /x 2>/dev/null && echo WROTE; "
        f"cat {tmp_path}/given; touch {tmp_path}/x 2>/dev/null && echo WROTE; "
        "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; touch /tmp/a ~/b && echo room"
    )
    assert bench.run(script, mounts=(tmp_path / "given",)).exit_code == 0
    assert sorted(bench.said) == [
        "1001", "CapEff:\t0000000000000000", "HOME PATH PWD TMPDIR ", "NoNewPrivs:\t1", "Seccomp:\t2", "lo", "readable",
        "room",
    ]  # fmt: skip


def test_an_open_network_is_the_daemons(bench: Bench) -> None:
    bench.run("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' ' | sort | tr '\\n' ' '", network=Network.OPEN)
    assert bench.said == ["eth0 lo "]


@pytest.mark.parametrize("path", ["/", "/var/run", "/proc"])
def test_mounts_that_would_be_a_way_out(bench: Bench, path: str) -> None:
    with pytest.raises(RefusedInput, match=path):
        bench.run("true", mounts=(Path(path),))


def test_wall_time(bench: Bench) -> None:
    outcome = bench.run("echo hello; trap '' TERM; sleep 60", limits=Limits(wall=1.5))
    assert (outcome.ending, outcome.exit_code) == (Ending.TIMED_OUT, None)
    assert "1.5 s" in outcome.detail


def test_cancelling_is_gentle_first(bench: Bench) -> None:
    outcome = bench.cancel_at(
        "ready", "trap 'echo bye; exit 0' TERM; echo ready; touch made; while :; do sleep 0.05; done"
    )
    assert outcome.ending is Ending.CANCELLED
    # On its error output the shell tells of its own killed child.
    assert [frame.text for frame in bench.frames if isinstance(frame, Line) and frame.fd == 1] == ["ready", "bye"]
    assert (bench.workspace / "made").exists()


def test_memory(bench: Bench) -> None:
    eat = (
        "node=/opt/claude-flow-dagger/node/bin/node; exec $node -e 'const a=[]; for(;;) a.push(Buffer.alloc(1<<20,1))'"
    )
    outcome = bench.run(eat, limits=Limits(wall=60, memory=192 << 20))
    assert (outcome.ending, outcome.detail) == (Ending.OUT_OF_MEMORY, "used more than 192 MiB of memory")


def test_processes(bench: Bench) -> None:
    bomb = "i=0; while [ $i -lt 200 ]; do sleep 20 & i=$((i+1)); done; wait"
    outcome = bench.run(bomb, limits=Limits(wall=60, pids=60))
    assert outcome.ending is Ending.TOO_MANY_PROCESSES
    assert "60" in outcome.detail


def test_isolation_is_seen_from_inside(bench: Bench) -> None:
    found = bench.isolation()
    assert (found.runner, found.sandbox, found.network_cut) == ("container", "docker", True)
    bench.runtime = "runc"
    assert bench.isolation() == found
    bench.runtime = "cfd-none"
    with pytest.raises(UnsafeRun, match="cfd-none") as caught:
        bench.isolation()
    assert "runc" in str(caught.value.cure)


def heard(process, line: str) -> None:
    assert process.stdout is not None
    for text in process.stdout:
        if text.strip() == line:
            return
    pytest.fail(f"ended without {line!r}")


def is_running(engine: Engine, name: str) -> bool:
    return bool(docker(engine, "ps", "--quiet", "--filter", f"name={name}").stdout.strip())


def test_a_container_ends_by_itself_once_its_command_line_was_killed(bench: Bench, engine: Engine) -> None:
    name = f"cfd-{bench.owner}-agent"
    process = bench.driver("echo ready; while :; do sleep 1; done")
    heard(process, "ready")
    assert is_running(engine, name)
    process.kill()
    killed = time.monotonic()
    process.communicate(timeout=20)
    while is_running(engine, name):
        assert time.monotonic() - killed < ENDS_S
        time.sleep(0.05)
    assert inspected(engine, name)["State"]["ExitCode"] == 75

    async def sweep(living: set[str]) -> list[str]:
        async with connect(bench.address) as daemon:
            return await prune_leftovers(daemon, bench.owner, lambda: living)

    # Its run may live on in another process; somebody else's are never looked at.
    assert asyncio.run(sweep({bench.owner})) == []
    assert {what.split()[1] for what in listed(engine) if bench.owner in what} == {
        name,
        f"{name}-workspace",
        f"{name}-control",
    }
    assert len(asyncio.run(sweep(set()))) == 3


def test_a_second_start_takes_over_what_a_killed_one_left_running(bench: Bench, engine: Engine) -> None:
    """The gateway lives in this process, so the container holds its lease and works on."""
    import socket

    gateway = bench.base / "gw.sock"
    go = bench.workspace / "unused"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(gateway))
        server.listen(16)
        taken: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        script = "echo first; echo once >> count; sleep 3; echo second; cat count; exit 4"
        name = f"cfd-{bench.owner}-agent"
        process = bench.driver(script, gateway=gateway)
        heard(process, "first")
        before = inspected(engine, name)["Id"]
        process.kill()
        process.communicate(timeout=20)
        assert inspected(engine, name)["Id"] == before
        plan = {"gateway_socket": "/run/cfd/gateway.sock", "gateway_port": 0, "lease": True}
        outcome = bench.run("echo another; exit 9", gateway=gateway, plan=plan)
        server.shutdown(socket.SHUT_RDWR)
        for one in taken:
            one.close()
    assert (outcome.ending, outcome.exit_code) == (Ending.EXITED, 4)
    # All that was said, from the start; and done once.
    assert bench.said == ["first", "second", "once"]
    assert (bench.workspace / "count").read_text() == "once\n"
    assert not go.exists()


def test_frames_come_while_it_runs_and_none_is_lost(bench: Bench) -> None:
    outcome = bench.run("i=0; while [ $i -lt 5000 ]; do echo line-$i; i=$((i+1)); done")
    assert outcome.ending is Ending.EXITED
    lines = [frame.text for frame in bench.frames if isinstance(frame, Line)]
    assert lines == [f"line-{number}" for number in range(5000)]
