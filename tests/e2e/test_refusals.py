"""What would only fail after the model was paid is refused before; what the machine lacks is said with its cure."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Cli, command, contents, environment

Script = Callable[[str], Path]
TALK = "turns: [{text: I could do that.}]"
KEY = "sk-ant-api03-" + "Qw4" * 20


@pytest.fixture
def refused(cli: Cli, greeter: Path, script: Script, tmp_path: Path) -> Callable[..., tuple[int, Any, str]]:
    """Runs the greeter with more options and nothing installed: the exit status, the error, what was said besides."""

    def run(*words: object, **env: str) -> tuple[int, Any, str]:
        before = contents(greeter)
        given = ("run", "x", "--source", greeter, "--model-script", script(TALK), "--output", "json", *words)
        ran = cli(*given, env={"XDG_CACHE_HOME": str(tmp_path / "cache"), **env})
        assert contents(greeter) == before
        assert len(ran.out.splitlines()) == 1
        return ran.code, ran.json["error"], ran.err

    return run


@pytest.mark.parametrize("option", ["--patch", "--ledger"])
def test_files_that_could_not_be_written(refused: Any, tmp_path: Path, option: str) -> None:
    missing = tmp_path / "missing" / "file"
    for path, why in ((missing, f"there is no directory {missing.parent}"), (tmp_path, "is a directory")):
        code, error, err = refused(option, path)
        assert (code, error["code"], err) == (2, "invalid_source", "")
        assert error["message"] == f"{option} {path}: {why}"
        assert error["cure"]
    assert not (tmp_path / "cache").exists()


def test_a_state_that_is_a_file(refused: Any, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.write_text("mine")
    code, error, err = refused("--state", state)
    assert (code, error["message"], err) == (2, f"--state {state}: is not a directory", "")
    assert state.read_text() == "mine"


def test_places_that_cannot_be_written(refused: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for name, path in (("TMPDIR", tmp_path / "missing"), ("XDG_CACHE_HOME", file / "below")):
        code, error, _ = refused(**{name: str(path)})
        assert code == 75
        assert str(path) in error["message"]
        assert name in error["cure"]


def test_a_credential_in_the_job(refused: Any, tmp_path: Path) -> None:
    """Watches `check_request`: the sandbox would see whatever the job holds."""
    for words in (("--env", f"TOKEN={KEY}"), ("--verify", f"test {KEY}")):
        code, error, err = refused(*words, ANTHROPIC_API_KEY=KEY)
        assert (code, error["code"], err) == (2, "invalid_job", "")
        assert "credential" in error["message"]
        assert KEY not in json.dumps(error)


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
@pytest.mark.skipif(os.geteuid() != 0, reason="a small disk needs root to be mounted")
def test_an_agent_that_fills_the_disk(greeter: Path, script: Script, cache_dir: Path, tmp_path: Path) -> None:
    before = contents(greeter)
    fill = "turns: [{tools: [{name: Bash, input: {command: head -c 100000000 /dev/urandom > large}}]}, {text: Done.}]"
    mount = 'mount -t tmpfs -o size=32m none "$0" && exec "$@"'
    words = ("x", "--strategy", "direct", "--source", greeter, "--model-script", script(fill), "--apply", "-o", "json")
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            mount,
            cache_dir / "runs",
            *command("run", *words),
        ],
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    result = json.loads(done.stdout)
    assert (done.returncode, result["verdict"], result["reason"]) == (75, "infrastructure_error", "out_of_space")
    assert (result["retryable"], result["applied"]) == (True, False)
    assert contents(greeter) == before


@pytest.mark.soak
@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
def test_a_file_of_a_gigabyte(cli: Cli, greeter: Path, script: Script) -> None:
    with (greeter / "large").open("wb") as file:
        for _ in range(64):
            file.write(os.urandom(1 << 24))
    append = "turns: [{tools: [{name: Bash, input: {command: echo more >> greet.js}}]}, {text: Done.}]"
    words = ("x", "--strategy", "direct", "--source", greeter, "--model-script", script(append), "--output", "json")
    ran = cli("run", *words)
    assert ran.json["verdict"] == "succeeded", ran.out[-1500:]
    assert [change["path"] for change in ran.json["changes"]] == ["greet.js"]
