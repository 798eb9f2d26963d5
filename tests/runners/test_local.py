"""The local runner with real sandboxes and, where told so, with plain processes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pydantic
import pytest
from processes import alive, eventually

import claude_flow_dagger
from claude_flow_dagger.errors import RefusedInput, SandboxError, UnsafeRun
from claude_flow_dagger.job import Limits, Network
from claude_flow_dagger.plan import Plan
from claude_flow_dagger.result import Ending, Outcome
from claude_flow_dagger.runners.base import Sandbox
from claude_flow_dagger.runners.frames import Frame, Line
from claude_flow_dagger.runners.host import Missing
from claude_flow_dagger.runners.local import LocalRunner

DRIVER = Path(__file__).with_name("driver.py")
BOTH = [pytest.param(False, marks=pytest.mark.sandbox, id="sandbox"), pytest.param(True, id="plain")]


@dataclass
class Bench:
    """A runner with a workspace, a control directory and what was said."""

    base: Path
    runner: LocalRunner
    frames: list[Frame] = field(default_factory=list)

    @property
    def workspace(self) -> Path:
        return self.base / "workspace"

    @property
    def control(self) -> Path:
        return self.base / "control"

    def sandbox(self, script: str, *, plan: dict[str, object] | None = None, **fields: object) -> Sandbox:
        layout = self.runner.layout(self.workspace, self.control)
        made = {
            "cwd": layout.workspace,
            "env": {"PATH": "/usr/bin:/bin", "HOME": layout.home, "TMPDIR": layout.tmp},
            "directories": [layout.home, layout.tmp],
            "steps": [{"name": "main", "argv": ["sh", "-c", script]}],
            "grace_s": 0.5,
            **(plan or {}),
        }
        defaults = {"limits": Limits(wall=60), "network": Network.MODEL, "run_id": "run", "purpose": "agent"}
        return Sandbox(
            plan=Plan.model_validate(made), workspace=self.workspace, control=self.control, **{**defaults, **fields}
        )

    def run(self, script: str, **fields: object) -> Outcome:
        return asyncio.run(self.runner.run(self.sandbox(script, **fields), self.frames.append))

    @property
    def said(self) -> list[str]:
        return [frame.text for frame in self.frames if isinstance(frame, Line)]


@pytest.fixture
def bench(short_tmp: Path, light_runtime) -> Callable[..., Bench]:
    def make(plain: bool = False) -> Bench:
        runner = LocalRunner(light_runtime, allow_unsandboxed=plain, scratch=short_tmp)
        if plain:
            # As on a machine without bubblewrap; finding that out has tests of its own.
            runner._found = Missing("no bubblewrap", "install it")
        (short_tmp / "workspace").mkdir()
        (short_tmp / "control").mkdir(mode=0o700)
        return Bench(short_tmp, runner)

    return make


@pytest.mark.parametrize("plain", BOTH)
class TestBothWays:
    def test_runs_to_the_end_and_leaves_the_workspace(self, bench, plain):
        one = bench(plain)
        (one.workspace / "in").write_text("given\n")
        outcome = one.run("cat in; echo made > out; echo err >&2; exit 3")
        assert outcome.ending is Ending.EXITED
        assert outcome.exit_code == 3
        assert sorted(one.said) == ["err", "given"]
        assert (one.workspace / "out").read_text() == "made\n"
        assert [entry.name for entry in one.base.iterdir() if entry.name.startswith("sandbox-")] == []

    def test_the_environment_is_the_plans(self, bench, plain, monkeypatch):
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-of-the-parent")
        one = bench(plain)
        one.run(
            "env; cat /proc/[0-9]*/environ | tr '\\0' '\\n' | grep -c of-the-parent",
            plan={"env": {"PATH": "/usr/bin:/bin"}},
        )
        said = set(one.said)
        assert {line.split("=")[0] for line in said if "=" in line} == {"PATH", "PWD"}
        if not plain:
            assert "0" in said

    def test_wall_time_ends_it(self, bench, plain, marker):
        one = bench(plain)
        outcome = one.run(f"echo {marker}; trap '' TERM; sleep 60", limits=Limits(wall=1.0))
        assert outcome.ending is Ending.TIMED_OUT
        assert outcome.exit_code is None
        assert "1 s" in outcome.detail
        assert alive(marker) == []

    def test_cancelling_is_gentle_first(self, bench, plain, marker):
        one = bench(plain)

        async def go() -> Outcome:
            sandbox = one.sandbox(f"trap 'echo bye; exit 0' TERM; echo {marker}; while :; do sleep 0.05; done")

            def on_frame(frame: Frame) -> None:
                one.frames.append(frame)
                if isinstance(frame, Line) and frame.text == marker:
                    sandbox.cancelled.set()

            return await one.runner.run(sandbox, on_frame)

        assert asyncio.run(go()).ending is Ending.CANCELLED
        # On its error output the shell tells of its own killed child.
        assert [frame.text for frame in one.frames if isinstance(frame, Line) and frame.fd == 1] == [marker, "bye"]
        assert alive(marker) == []

    @pytest.mark.parametrize("moment", [0.0, 0.03, 0.15, None])
    def test_a_cancelled_task_leaves_nothing(self, bench, plain, marker, moment):
        one = bench(plain)

        async def go() -> None:
            ready = asyncio.Event()

            def on_frame(frame: Frame) -> None:
                if isinstance(frame, Line):
                    ready.set()

            task = asyncio.create_task(
                one.runner.run(one.sandbox(f"setsid sleep 61 & echo {marker}; sleep 60"), on_frame)
            )
            await (ready.wait() if moment is None else asyncio.sleep(moment))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert alive(marker) == []
            assert alive(str(one.control)) == []

        asyncio.run(go())

    def test_an_error_of_the_callback_leaves_nothing_and_is_raised(self, bench, plain, marker):
        one = bench(plain)

        def fail(frame: Frame) -> None:
            if isinstance(frame, Line):
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            asyncio.run(one.runner.run(one.sandbox(f"echo {marker}; yes {marker}"), fail))
        assert alive(marker) == []

    def test_memory_has_a_limit(self, bench, plain, marker):
        hog = "let a=[];setInterval(()=>a.push(Buffer.alloc(16<<20,1)),5)"
        one = bench(plain)
        node = one.runner.layout(one.workspace, one.control).node
        outcome = one.run(f"{node} -e '{hog}' {marker}", limits=Limits(memory=256 * 1024**2, wall=60))
        assert outcome.ending is Ending.OUT_OF_MEMORY
        assert "256 MiB" in outcome.detail
        assert outcome.peak_memory is not None
        assert outcome.peak_memory > 256 * 1024**2
        assert alive(marker) == []

    def test_processes_have_a_limit(self, bench, plain, marker):
        one = bench(plain)
        script = f"i=0; while [ $i -lt 120 ]; do sleep 60.{os.getpid()} & i=$((i+1)); done; echo {marker}; wait"
        outcome = one.run(script, limits=Limits(pids=64, wall=60))
        assert outcome.ending is Ending.TOO_MANY_PROCESSES
        assert "64" in outcome.detail
        assert alive(f"60.{os.getpid()}") == []

    def test_a_daemon_does_not_outlive_the_run(self, bench, plain):
        stay = f"62.{os.getpid()}"
        one = bench(plain)
        assert one.run(f"setsid --fork sleep {stay}; setsid --fork sh -c 'setsid --fork sleep {stay}'").exit_code == 0
        assert alive(stay) == []

    def test_the_gateway_is_reached_through_the_forwarder(self, bench, plain):
        one = bench(plain)
        with http_on(one.base / "g.sock"):
            layout = one.runner.layout(one.workspace, one.control)
            ask = "fetch('http://127.0.0.1:'+process.env.PORT).then(r=>r.text()).then(t=>console.log(t))"
            outcome = one.run(
                f'{layout.node} -e "{ask}"',
                gateway=one.base / "g.sock",
                plan={
                    "env": {"PATH": "/usr/bin:/bin", "PORT": "{gateway_port}"},
                    "gateway_socket": f"{layout.control}/gateway.sock",
                    "gateway_port": 0,
                    "lease": True,
                },
            )
        assert outcome.exit_code == 0
        assert one.said == ["the gateway"]

    def test_a_killed_warden_is_broken_and_leaves_nothing(self, bench, plain, marker):
        one = bench(plain)

        def on_frame(frame: Frame) -> None:
            if isinstance(frame, Line):
                (warden,) = [pid for pid in alive("warden.py") if str(one.control) in command_line(pid)]
                os.kill(warden, signal.SIGKILL)

        outcome = asyncio.run(one.runner.run(one.sandbox(f"echo {marker}; sleep 60"), on_frame))
        assert outcome.ending is Ending.BROKEN
        assert "without a report" in outcome.detail
        assert eventually(lambda: not alive(marker), 5)

    def test_a_stopped_warden_is_a_cancelled_run(self, bench, plain, marker):
        one = bench(plain)

        def on_frame(frame: Frame) -> None:
            if isinstance(frame, Line):
                (warden,) = [pid for pid in alive("warden.py") if str(one.control) in command_line(pid)]
                os.kill(warden, signal.SIGTERM)

        outcome = asyncio.run(one.runner.run(one.sandbox(f"echo {marker}; sleep 60"), on_frame))
        assert outcome.ending is Ending.CANCELLED
        assert alive(marker) == []

    def test_a_missing_interpreter_is_an_error_that_names_it(self, bench, plain, monkeypatch):
        one = bench(plain)
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        with pytest.raises(SandboxError, match="/no/such/python"):
            one.run("true")

    def test_a_killed_entrypoint_is_broken_not_a_status(self, bench, plain):
        outcome = bench(plain).run("kill -9 $PPID; sleep 60")
        assert outcome.ending is Ending.BROKEN
        assert "without a word" in outcome.detail

    def test_a_socket_path_that_is_too_long_is_refused(self, bench, plain):
        one = bench(plain)
        with pytest.raises(SandboxError, match="too long"):
            one.run("true", gateway=one.base / ("g" * 100))

    def test_a_control_directory_that_is_not_there_is_an_error_that_names_it(self, bench, plain):
        one = bench(plain)
        sandbox = one.sandbox("true")
        one.control.rmdir()
        with pytest.raises(SandboxError, match="control"):
            asyncio.run(one.runner.run(sandbox, one.frames.append))


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")


class http_on:  # noqa: N801 - reads as what it does
    """A small HTTP server on a unix socket."""

    def __init__(self, path: Path) -> None:
        class Server(HTTPServer):
            address_family = socket.AF_UNIX

            def server_bind(self) -> None:
                self.socket.bind(str(path))

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "11")
                self.end_headers()
                self.wfile.write(b"the gateway")

            def log_message(self, *_args: object) -> None: ...

            def address_string(self) -> str:
                return "unix"

        self.server = Server(("unix", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.mark.sandbox
class TestSandbox:
    def test_isolation_is_measured(self, bench):
        one = bench()
        isolation = asyncio.run(one.runner.isolation())
        assert (isolation.sandbox, isolation.network_cut) == ("bubblewrap", True)
        assert one.runner.missing is None

    def test_who_it_is_and_what_it_may(self, bench):
        one = bench()
        one.run(
            "id -u; id -g; id -un; grep -E 'Cap|NoNewPrivs' /proc/self/status | tr -d '\\t'; "
            "hostname; unshare -U true; echo $?"
        )
        assert one.said[:3] == ["1001", "1001", "agent"]
        zero = "0" * 16
        assert one.said[3:9] == [f"Cap{kind}:{zero}" for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")] + ["NoNewPrivs:1"]
        assert "sandbox" in one.said
        assert "0" not in one.said[9:]

    def test_files_of_this_machine_are_not_there(self, bench, short_tmp):
        (short_tmp / "secret-of-the-host").write_text("x")
        one = bench()
        places = "/root /etc/shadow /run/docker.sock /var /work /sys /boot /mnt /srv /etc/ssh /etc/hostname.host"
        one.run(
            f"for p in {places} {short_tmp}; do [ -e $p ] && echo found $p; done; "
            "ls /; ls /home /tmp /run; cat /etc/passwd"
        )
        assert not [line for line in one.said if line.startswith("found")]
        assert not {"root", "var", "work", "sys"} & set(one.said)
        assert [line.split(":")[0] for line in one.said if ":" in line and "/" in line and " " not in line][-2:] == [
            "agent",
            "nobody",
        ]

    def test_other_processes_are_not_there(self, bench, marker):
        other = subprocess.Popen(["/bin/sleep", "60"], env={"M": marker}, start_new_session=True)
        try:
            one = bench()
            one.run("ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm")
            assert int(one.said[0]) < 8
            assert one.said[1] == "bwrap"
        finally:
            other.kill()
            other.wait()

    @pytest.mark.parametrize(
        "place", ["/", "/usr", "/etc", "/dev", "/opt/claude-flow-dagger", "/opt/claude-flow-dagger/node"]
    )
    def test_the_system_is_read_only(self, bench, place):
        one = bench()
        one.run(f"touch {place}/new 2>&1")
        assert "Read-only file system" in one.said[0]

    def test_memory_backed_directories_have_a_size(self, bench):
        one = bench()
        one.run(
            "df -B1M --output=size,target /tmp /home/agent /dev/shm | tail -3; head -c 80000000 /dev/zero > /tmp/x",
            limits=Limits(memory=256 * 1024**2),
        )
        assert [line.split() for line in one.said[:3]] == [["64", "/tmp"], ["64", "/home/agent"], ["32", "/dev/shm"]]
        assert "No space left" in one.said[3]

    @pytest.mark.parametrize("network", [Network.MODEL, Network.NONE])
    def test_no_network(self, bench, network):
        one = bench()
        tries = (
            "const net=require('net'),dns=require('dns');for(const [h,p] of "
            "[['127.0.0.1',PORT],['10.0.0.1',80],['1.1.1.1',443],['169.254.169.254',80],['::1',PORT]])"
            "{const s=net.connect({host:h,port:p,timeout:3000});"
            "s.on('connect',()=>console.log('open',h));s.on('error',e=>console.log(e.code));"
            "s.on('timeout',()=>{console.log('timeout');s.destroy()})}"
            "dns.lookup('example.com',e=>console.log('dns',e?e.code:'open'));"
        )
        with socket.create_server(("127.0.0.1", 0)) as listener:
            code = tries.replace("PORT", str(listener.getsockname()[1]))
            node = one.runner.layout(one.workspace, one.control).node
            one.run("true", network=network, plan={"steps": [{"name": "main", "argv": [node, "-e", code]}]})
        assert len(one.said) == 6
        assert "open" not in " ".join(one.said)

    def test_an_open_network_reaches_this_machine(self, bench):
        one = bench()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            code = f"require('net').connect({port},'127.0.0.1',()=>{{console.log('open');process.exit()}})"
            node = one.runner.layout(one.workspace, one.control).node
            one.run("true", network=Network.OPEN, plan={"steps": [{"name": "main", "argv": [node, "-e", code]}]})
        assert one.said == ["open"]

    def test_protected_paths_are_read_only(self, bench):
        one = bench()
        (one.workspace / ".git").mkdir()
        (one.workspace / ".git" / "config").write_text("mine")
        one.run("echo x > .git/config; rm -rf .git; mv .git other; echo y > new", protected=(".git", "absent"))
        assert (one.workspace / ".git" / "config").read_text() == "mine"
        assert (one.workspace / "new").read_text() == "y\n"

    @pytest.mark.parametrize("name", ["link", "../outside", "/etc", "link/passwd"])
    def test_protected_paths_that_lead_out_are_refused(self, bench, name):
        one = bench()
        (one.workspace / "link").symlink_to("/etc")
        (one.base / "outside").mkdir()
        with pytest.raises(RefusedInput, match="protected"):
            one.run("true", protected=(name,))

    def test_mounts_are_there_and_read_only(self, bench, tmp_path):
        one = bench()
        extra = tmp_path / "extra"
        extra.mkdir()
        (extra / "f").write_text("seen")
        one.run(f"cat {extra}/f; echo; touch {extra}/g", mounts=(extra,))
        assert one.said[0] == "seen"
        assert not (extra / "g").exists()

    def test_the_ca_bundle_is_the_one_given(self, bench, short_tmp, light_runtime):
        bundle = short_tmp / "ca.pem"
        bundle.write_text("certificates")
        one = bench()
        one.runner = LocalRunner(light_runtime, allow_unsandboxed=False, scratch=short_tmp, ca_bundle=bundle)
        one.run("cat /etc/ssl/certs/ca-certificates.crt; echo; cat /etc/ssl/cert.pem")
        assert one.said == ["certificates", "certificates"]

    def test_claude_code_has_its_place(self, bench, short_tmp, light_runtime):
        (short_tmp / "cc").mkdir()
        claude = short_tmp / "cc" / "claude"
        claude.write_text("#!/bin/sh\necho i am claude\n")
        claude.chmod(0o755)
        one = bench()
        runtime = replace(light_runtime, claude_root=claude.parent, claude=claude)
        one.runner = LocalRunner(runtime, allow_unsandboxed=False, scratch=short_tmp)
        layout = one.runner.layout(one.workspace, one.control)
        one.run(f"{layout.claude}; {layout.node} {layout.claude_flow}")
        assert one.said == ["i am claude", "stand-in"]

    def test_a_sandbox_that_does_not_start_says_why(self, bench):
        one = bench()
        asyncio.run(one.runner.isolation())
        sandbox = one.sandbox("true")
        shutil.rmtree(one.workspace)
        outcome = asyncio.run(one.runner.run(sandbox, one.frames.append))
        assert outcome.ending is Ending.BROKEN
        assert "workspace" in outcome.detail

    def test_a_full_disk_is_an_error_that_names_the_directory(self, light_runtime, short_tmp):
        # The driver in a mount namespace where its directory holds next to nothing.
        config = write_driver(short_tmp, light_runtime, ["true"])
        config.write_text(json.dumps({**json.loads(config.read_text()), "base": "/mnt"}))
        small = ["bwrap", "--dev-bind", "/", "/", "--size", "4096", "--tmpfs", "/mnt", "--chdir", "/"]
        fill = "import os\ntry:\n open('/mnt/x','wb').write(b'x'*9000)\nexcept OSError: pass\n"
        drive = f"runpy.run_path({str(DRIVER)!r}, run_name='__main__')"
        code = f"{fill}import runpy,sys; sys.argv=['d',{str(config)!r}]; {drive}"
        done = subprocess.run(
            [*small, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
        )
        assert "OutOfSpace: /mnt" in done.stderr


def write_driver(base: Path, runtime: object, argv: list[str], **fields: object) -> Path:
    config = base / "driver.json"
    paths = {name: None if path is None else str(path) for name, path in asdict(runtime).items()}
    config.write_text(json.dumps({"base": str(base), "plain": False, "argv": argv, "runtime": paths, **fields}))
    return config


@pytest.mark.parametrize("plain", BOTH)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_outlives_a_killed_cli(short_tmp, light_runtime, plain, seed):
    stay = f"7{seed}{os.getpid()}.125"
    tree = f"trap '' TERM; setsid --fork sleep {stay}; sleep {stay} & echo tree; sleep {stay}"
    config = write_driver(short_tmp, light_runtime, ["sh", "-c", tree], plain=plain)
    cli = subprocess.Popen([sys.executable, str(DRIVER), str(config)], stdout=subprocess.PIPE, text=True)
    try:
        assert cli.stdout is not None
        moment = random.Random(seed).choice(["started", "tree"])
        for line in cli.stdout:
            if line.strip() == moment:
                break
        time.sleep(random.Random(seed).uniform(0, 0.4))  # the moment is the point, not a wait for something
        cli.send_signal(signal.SIGKILL)
        cli.wait()
        killed = time.monotonic()
        assert eventually(lambda: not alive(stay) and not alive(str(short_tmp)), 5), alive(stay)
        assert time.monotonic() - killed < 5
    finally:
        cli.kill()
        cli.wait()
        cli.stdout.close()


@pytest.mark.sandbox
def test_an_ordinary_user_gets_the_same_sandbox(short_tmp, light_runtime):
    prefix, python = [], sys.executable
    if os.geteuid() == 0:
        prefix = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
        python = "/usr/bin/python3"
        for place in (short_tmp, *short_tmp.rglob("*")):
            os.chown(place, 65534, 65534)
    check = (
        "id -u; grep CapBnd /proc/self/status | tr -d '\\t'; ls -d /proc/[0-9]* | wc -l; cat /etc/shadow; touch made"
    )
    config = write_driver(short_tmp, light_runtime, ["sh", "-c", check])
    config.chmod(0o644)
    packages = [Path(claude_flow_dagger.__file__).parents[1], Path(pydantic.__file__).parents[1]]
    done = subprocess.run(
        [*prefix, python, str(DRIVER), str(config)],
        env={"PYTHONPATH": ":".join(map(str, packages)), "PATH": "/usr/bin:/bin", "HOME": str(short_tmp)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    started, user, bounding, processes, *rest = done.stdout.splitlines()
    assert (started, user, bounding) == ("started", "1001", f"CapBnd:{'0' * 16}")
    assert int(processes) < 8
    assert "No such file" in rest[0]
    assert rest[-1].startswith("bubblewrap ")
    assert '"exit_code":0' in rest[-1]
    assert (short_tmp / "workspace" / "made").exists()


class TestWithoutASandbox:
    def test_is_refused_unless_allowed(self, bench):
        one = bench(plain=True)
        one.runner._allow_unsandboxed = False
        with pytest.raises(UnsafeRun, match="no bubblewrap") as refused:
            one.run("true")
        assert "install it" in str(refused.value.cure)

    def test_says_so(self, bench):
        one = bench(plain=True)
        isolation = asyncio.run(one.runner.isolation())
        assert (isolation.sandbox, isolation.network_cut) == ("none", False)
        assert isolation.detail == "no bubblewrap; install it"
        notice = one.runner.missing
        assert notice is not None
        assert notice.code == "no_sandbox"
        assert "no bubblewrap" in notice.message

    def test_the_layout_is_the_real_one(self, bench):
        one = bench(plain=True)
        layout = one.runner.layout(one.workspace, one.control)
        assert layout.workspace == str(one.workspace.resolve())
        assert layout.home == str(one.control.resolve() / "home")
        assert Path(layout.node).is_file()
        assert layout.claude is None
