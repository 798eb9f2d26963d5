"""The same on Podman's service, as root and as a user like any other."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bench import Bench

from claude_flow_dagger.image.engine import Engine, find_engine
from container.conftest import OWN, build_agent
from container.test_container_kills import test_kill_9, test_kill_9_while_a_sandbox_is_tried_out
from container.test_container_runner import (
    test_a_container_ends_by_itself_once_its_command_line_was_killed,
    test_a_second_start_takes_over_what_a_killed_one_left_running,
    test_cancelling_is_gentle_first,
    test_files_go_in_and_come_out_as_they_are,
    test_frames_come_while_it_runs_and_none_is_lost,
    test_memory,
    test_processes,
    test_wall_time,
)
from container.test_container_same import test_the_same_job_in_both_places
from e2e.conftest import Place
from e2e.test_greeter import (
    test_a_proof_has_no_network_no_gateway_and_no_key,
    test_a_spent_budget,
    test_state_is_handed_out_and_taken_in_again,
    test_the_first_command,
)
from e2e.test_sandbox import test_the_key_is_nowhere_and_nothing_but_the_gateway_answers

pytestmark = [pytest.mark.docker, pytest.mark.podman]

__all__ = [
    "test_a_container_ends_by_itself_once_its_command_line_was_killed",
    "test_a_proof_has_no_network_no_gateway_and_no_key",
    "test_a_second_start_takes_over_what_a_killed_one_left_running",
    "test_a_spent_budget",
    "test_cancelling_is_gentle_first",
    "test_files_go_in_and_come_out_as_they_are",
    "test_frames_come_while_it_runs_and_none_is_lost",
    "test_kill_9",
    "test_kill_9_while_a_sandbox_is_tried_out",
    "test_memory",
    "test_processes",
    "test_state_is_handed_out_and_taken_in_again",
    "test_the_first_command",
    "test_the_key_is_nowhere_and_nothing_but_the_gateway_answers",
    "test_the_same_job_in_both_places",
    "test_wall_time",
]
READY_S = 60


@dataclass(frozen=True)
class Podman:
    """A service that runs."""

    address: str
    base: Path


def podman_argv(base: Path) -> list[str]:
    # Debian's crun knows no mixed hierarchy of control groups, runc (of docker.io) does.
    runc = shutil.which("runc", path="/usr/sbin:/usr/bin")
    runtime = ["--runtime", runc] if runc and not Path("/sys/fs/cgroup/cgroup.controllers").exists() else []
    return [
        *("podman", "--root", str(base / "root"), "--runroot", str(base / "run"), "--events-backend", "file"),
        *("--cgroup-manager", "cgroupfs", *runtime),
    ]


@pytest.fixture(scope="module")
def agent() -> str:
    return build_agent()


@pytest.fixture(scope="module")
def podman(agent: str) -> Iterator[Podman]:
    """Podman's service with a store of its own, and the image in it, out of Docker's."""
    base = Path(tempfile.mkdtemp(prefix="cfdp-", dir="/tmp"))
    argv = podman_argv(base)
    docker = find_engine(os.environ)
    with subprocess.Popen(
        [docker.executable, "save", agent], env=dict(docker.environment), stdout=subprocess.PIPE
    ) as out:
        subprocess.run([*argv, "load", "--quiet"], stdin=out.stdout, stdout=subprocess.DEVNULL, check=True, timeout=300)
    assert out.returncode == 0
    address = f"unix://{base}/podman.sock"
    with (base / "log").open("wb") as log:
        service = subprocess.Popen(
            [*argv, "system", "service", "--time", "0", address],
            cwd=base,  # conmon leaves a file `oom` where it works
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + READY_S
    while not (base / "podman.sock").exists():
        assert service.poll() is None, (base / "log").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield Podman(address, base)
    service.terminate()
    service.wait(30)
    subprocess.run([*argv, "unshare", "true"] if os.geteuid() else ["true"], check=False)
    subprocess.run([*argv, "rm", "--all", "--force"], stdout=subprocess.DEVNULL, check=True, timeout=120)
    subprocess.run(["umount", str(base / "root" / "overlay")], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(base)


@pytest.fixture(autouse=True)
def _here(podman: Podman, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", podman.address)


@pytest.fixture
def engine(podman: Podman) -> Engine:
    """Docker's client, which Podman's service understands, to look at what there is."""
    return find_engine({**os.environ, "DOCKER_HOST": podman.address}, named="docker", building=False)


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> None:
    if "left" not in request.fixturenames:
        request.getfixturevalue("nothing_left")


@pytest.fixture
def place(agent: str) -> Place:
    isolation = {"runner": "container", "sandbox": "podman", "network_cut": True, "detail": ""}
    # Podman's own filter of system calls lets everybody make user namespaces: nothing outside is in reach from there.
    return Place(("--runner", "container", "--image", agent), isolation, OWN, frozenset({"NEW USER NAMESPACE"}))


@pytest.fixture
def bench(agent: str, podman: Podman) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="cfd-", ignore_cleanup_errors=True) as directory:
        base = Path(directory)
        (base / "workspace").mkdir()
        (base / "control").mkdir(mode=0o700)
        yield Bench(base, podman.address, agent, f"test-{secrets.token_hex(6)}")
