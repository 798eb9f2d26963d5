"""The command line as a process, seen from outside: its exit status, its output, and what it leaves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claude_flow_dagger.runtime.install import Runtime

ROOT = Path(__file__).parents[2]
GREETER = ROOT / "examples" / "greeter"
PASSED_ON = ("XDG_CACHE_HOME", "HOME", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "TMPDIR", "DOCKER_HOST")
TIMEOUT_S = 240


@dataclass(frozen=True)
class Ran:
    """A command line that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output, which must be one JSON object and nothing else."""
        return json.loads(self.out)


Cli = Callable[..., Ran]


@dataclass(frozen=True)
class Place:
    """Where the jobs of a test run: what a command line says for it, and what its results say of it.

    Args:
        options: of `run` and `exec`.
        isolation: as in the result.
        own: paths that are there and hold nothing of this machine.
        may: what a sandbox there can do, of what others cannot.
    """

    options: tuple[str, ...]
    isolation: dict[str, object]
    own: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()

    def placed(self, words: tuple[object, ...]) -> tuple[object, ...]:
        """A command line with its options, if it is one that starts a run."""
        return (words[0], *self.options, *words[1:]) if words[0] in ("run", "exec") else words


@pytest.fixture(scope="session")
def place() -> Place:
    """The local runner; the tests of other runners have a fixture of this name, and use the same tests."""
    return Place((), {"runner": "local", "sandbox": "bubblewrap", "network_cut": True, "detail": ""})


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    coverage = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    return {"PATH": "/usr/bin:/bin", **kept, **coverage, **extra}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "claude_flow_dagger", *map(str, words)]


@pytest.fixture
def cli(tmp_path: Path, place: Place) -> Cli:
    def run(*words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ran:
        done = subprocess.run(
            command(*place.placed(words)),
            env=environment(env or {}),
            cwd=cwd or tmp_path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    """A copy of the example, so that a test may look at what became of it."""
    return shutil.copytree(GREETER, tmp_path / "greeter")


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a model script: the turns, in YAML."""

    def write(turns: str) -> Path:
        path = tmp_path / "script.yaml"
        path.write_text(f"version: 1\n{turns}")
        return path

    return write


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


__all__ = ["GREETER", "ROOT", "Cli", "Place", "Ran", "Runtime", "command", "contents", "environment"]
