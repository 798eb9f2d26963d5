"""The launcher in a fresh clone, with uv and without, at once, through a symlink, from another directory."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = (
    "claude-flow-dagger",
    "pyproject.toml",
    "uv.lock",
    "requirements.lock",
    "requirements-dev.lock",
    "README.md",
    "LICENSE",
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a clone of the work tree would hold, in a directory whose name has a space."""
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in NEEDED:
        shutil.copy2(ROOT / name, clone)
    for name in ("src", "scripts"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    return clone


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The user's environment, with a HOME whose changes can be seen; caches of uv and pip are shared, for speed."""
    home = tmp_path / "home"
    home.mkdir()
    real = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    python = Path(shutil.which("python3") or "/usr/bin/python3")
    keep = {
        name: value for name, value in os.environ.items() if "CERT" in name or "CA_" in name or "proxy" in name.lower()
    }
    return {
        **keep,
        "PATH": f"{python.parent}:/usr/bin:/bin",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(real),
        "UV_CACHE_DIR": str(real / "uv"),
        **({"PYENV_ROOT": str(Path.home() / ".pyenv")} if (Path.home() / ".pyenv").is_dir() else {}),
    }


def without_uv(environ: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same with a PATH that has everything but uv."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for directory in environ["PATH"].split(":"):
        for tool in Path(directory).iterdir() if Path(directory).is_dir() else ():
            if tool.name != "uv" and not (tools / tool.name).is_symlink():
                (tools / tool.name).symlink_to(tool)
    python = subprocess.run(
        ["python3", "-c", "import sys; print(sys.executable)"], env=environ, capture_output=True, text=True, check=True
    )
    (tools / "python3").unlink(missing_ok=True)
    (tools / "python3").symlink_to(python.stdout.strip())
    return {**environ, "PATH": str(tools)}


def launch(where: Path, environ: dict[str, str], *argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [where, *argv],
        env=environ,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=280,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.mark.parametrize("with_uv", [True, False], ids=["uv", "venv and pip"])
def test_first_use_sets_up_and_the_next_is_quick(
    clone: Path, environ: dict[str, str], tmp_path: Path, with_uv: bool
) -> None:
    if not with_uv:
        environ = without_uv(environ, tmp_path)
    elif shutil.which("uv", path=environ["PATH"]) is None:
        pytest.skip("this machine has no uv")
    link = tmp_path / "link"
    link.symlink_to("a clone/claude-flow-dagger")

    first = launch(link, environ, "--help", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "setting up" in first.stderr
    assert ("with uv" in first.stderr) is with_uv
    assert "Usage" in first.stdout
    assert "setting up" not in first.stdout, "standard output is the program's alone"

    started = time.monotonic()
    direct = launch(clone / ".venv" / "bin" / "claude-flow-dagger", environ, "--help", cwd=tmp_path)
    between = time.monotonic()
    second = launch(clone / "claude-flow-dagger", environ, "--help", cwd=Path("/"))
    took, alone = time.monotonic() - between, between - started
    assert (second.stdout, second.stderr) == (direct.stdout, "")
    assert took - alone < 0.5, "what the launcher adds; 10 ms on a machine with nothing else to do"

    (clone / "requirements.lock").write_text((clone / "requirements.lock").read_text() + "# changed\n")
    third = launch(clone / "claude-flow-dagger", environ, "--help", cwd=tmp_path)
    assert third.returncode == 0, third.stderr
    assert "setting up" in third.stderr, "another lock is another environment"
    assert {path.name for path in (tmp_path / "home").iterdir()} == set(), "nothing beside the clone and the cache"


def test_two_first_uses_at_once_both_work(clone: Path, environ: dict[str, str], tmp_path: Path) -> None:
    both = [
        subprocess.Popen(
            [clone / "claude-flow-dagger", "--help"], env=environ, cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate(timeout=280) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("setting up" in err.replace("that sets up", "") for _, err in said) == 1, said
    assert not (clone / ".venv.lock").exists()


def test_a_killed_setup_is_taken_over(clone: Path, environ: dict[str, str], tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait(timeout=30)
    (clone / ".venv.lock").mkdir()
    (clone / ".venv.lock" / "pid").write_text(f"{dead.pid}\n")
    done = launch(clone / "claude-flow-dagger", environ, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (clone / ".venv.lock").exists()


def test_no_python_says_which_is_needed(clone: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "readlink", "find", "mkdir", "cat", "cksum", "rm", "mv", "sleep", "touch", "sed"):
        (tools / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    done = launch(clone / "claude-flow-dagger", {"PATH": str(tools), "HOME": str(tmp_path)}, "--help", cwd=tmp_path)
    assert done.returncode == 75
    assert "Python 3.11" in done.stderr
    assert not (clone / ".venv.lock").exists()


def test_the_locks_of_pip_match_the_lock_of_uv() -> None:
    if shutil.which("uv") is None:
        pytest.skip("this machine has no uv")
    done = subprocess.run(
        [ROOT / "scripts/make-python-locks", "--check"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
