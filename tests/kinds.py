"""Kinds of tests that need something this machine may not have: what each needs, and whether it is here.

A test says `@pytest.mark.KIND`. Where the kind is missing its tests are left out, with one line at the end that says so
and why; `REQUIRE="sandbox docker"` in the environment turns that into a failure.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

ROOTLESS = "cfd-rootless"


@dataclass(frozen=True)
class Kind:
    """A kind: its marker, what it needs in words, and a probe that returns why it is missing, or None."""

    name: str
    needs: str
    missing: Callable[[], str | None]


def _runs(*argv: str) -> str | None:
    if shutil.which(argv[0]) is None:
        return f"{argv[0]} is not installed"
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return f"{argv[0]} does not answer"
    last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    return None if done.returncode == 0 else f"{argv[0]}: {last}"


def _sandbox() -> str | None:
    mounts = [word for path in ("/usr", "/lib", "/lib64", "/bin") for word in ("--ro-bind-try", path, path)]
    return _runs("bwrap", "--unshare-net", "--unshare-pid", *mounts, "--proc", "/proc", "--dev", "/dev", "true")


def _engine() -> str | None:
    return None if os.environ.get("_EXPERIMENTAL_DAGGER_RUNNER_HOST") else _docker() and "no Dagger engine is reachable"


def _docker() -> str | None:
    return _runs("docker", "info")


def _postgres() -> str | None:
    return None if os.environ.get("TEST_POSTGRES_URL") else "TEST_POSTGRES_URL is not set"


def _go() -> str | None:
    """Go, and through it Dagger's own schema; a first download takes a while, later ones are in Go's cache."""
    if shutil.which("go") is None:
        return "go is not installed"
    argv = ("go", "mod", "download", "-json", "github.com/dagger/dagger@v0.21.8")
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False, cwd="/")
    except subprocess.TimeoutExpired:
        return "the Go client does not end"
    return None if done.returncode == 0 else f"go: {(done.stderr or done.stdout).strip()[-200:]}"


def _rootless() -> str | None:
    """A user that tests may act as: made by whoever wants that, since tests add no users to a machine."""
    if os.geteuid() != 0:
        return "only root can act as another user"
    try:
        pwd.getpwnam(ROOTLESS)
    except KeyError:
        return f"there is no user {ROOTLESS}"
    return _runs("podman", "--version")


KINDS = (
    Kind("go", "Go, which downloads the official schema of Dagger", _go),
    Kind("sandbox", "a working bubblewrap", _sandbox),
    Kind("docker", "a Docker daemon", _docker),
    Kind("podman", "Podman", lambda: _runs("podman", "--version")),
    Kind("rootless", f"Podman, and a user {ROOTLESS} with subordinate ids", _rootless),
    Kind("engine", "a Dagger engine", _engine),
    Kind("cluster", "a Kubernetes cluster", lambda: _runs("kubectl", "cluster-info")),
    Kind("postgres", "a Postgres server", _postgres),
)


def required() -> frozenset[str]:
    """The kinds that must be there, by REQUIRE.

    Raises:
        ValueError: REQUIRE names a kind that does not exist.
    """
    names = frozenset(os.environ.get("REQUIRE", "").replace(",", " ").split())
    unknown = names - {kind.name for kind in KINDS}
    if unknown:
        raise ValueError(f"REQUIRE: no kind is named {', '.join(sorted(unknown))}")
    return names
