"""Every function of the module, called for real. `pytest -m engine tests/dagger` runs them all.

`DAGGER_TEST_BASE` and `DAGGER_TEST_PYTHON` name base images for an engine that only reaches a registry of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GREETER = ROOT / "examples/greeter"
pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]


def dagger(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    cli = os.environ.get("_EXPERIMENTAL_DAGGER_CLI_BIN") or shutil.which("dagger")
    assert cli is not None, "an engine without a `dagger`"
    done = subprocess.run(
        [cli, *words], cwd=ROOT, capture_output=True, text=True, timeout=840, check=False, start_new_session=True
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def call(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    bases = {"--base-image": os.environ.get("DAGGER_TEST_BASE"), "--python-image": os.environ.get("DAGGER_TEST_PYTHON")}
    given = [word for option, value in bases.items() if value for word in (option, value)]
    return dagger("call", "--progress=plain", *given, *words, check=check)


SCRIPTED = ("--source", str(GREETER), "with-model-script", "--file", str(GREETER / "french.yaml"))
ONE_TURN = "version: 1\nturns:\n  - text: I have looked at it.\n"


@pytest.fixture(scope="session")
def one_turn(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """The greeter, with a model that only says something."""
    path = tmp_path_factory.mktemp("script") / "one.yaml"
    path.write_text(ONE_TURN)
    return ("--source", str(GREETER), "with-model-script", "--file", str(path))


def test_every_function_has_text() -> None:
    lines = dagger("functions").stdout.strip().splitlines()
    rows = [line.split(None, 1) for line in lines if line and not line.startswith(("Name", "Skipped"))]
    assert len(rows) > 40
    assert [row[0] for row in rows if len(row) < 2] == []


def test_a_scripted_run_gives_its_patch() -> None:
    patch = call(*SCRIPTED, "run", "--objective", "Greet in French too", "changes", "as-patch", "contents").stdout
    assert "+  fr: (name) => `Bonjour, ${name} !`," in patch
    assert ".swarm" not in patch


def test_a_run_has_everything_about_it(tmp_path: Path) -> None:
    call(*SCRIPTED, "run", "--objective", "Greet in French too", "artifacts", "export", "--path", str(tmp_path))
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["verdict"], result["scripted"]) == ("succeeded", True)
    assert result["isolation"]["network_cut"] is False
    assert [item["key"] for item in result["memory"]] == ["greeter/languages"]
    assert len((tmp_path / "ledger.ndjson").read_text().splitlines()) == result["ledger"]["requests"]
    assert (tmp_path / "state/.swarm/memory.db").is_file()


def test_a_failing_agent_is_data(one_turn: tuple[str, ...]) -> None:
    run = (*one_turn, "run", "--objective", "x", "--direct", "--expect", "CHANGES")
    assert call(*run, "verdict").stdout.strip().upper() == "NO_WORK"
    failed = call(*run, "assert-succeeded", "exit-code", check=False)
    assert failed.returncode != 0
    assert "no_changes" in failed.stderr


@pytest.mark.parametrize("recipe", ["hive-mind", "swarm", "sparc", "github"])
def test_agent_recipes(recipe: str, one_turn: tuple[str, ...]) -> None:
    assert call(*one_turn, recipe, "--objective", "Look at it", "exit-code").stdout.strip() == "0"


def test_tdd_is_proven_by_the_tests(one_turn: tuple[str, ...]) -> None:
    run = (*one_turn, "tdd", "--objective", "x", "--verify", "test -f nothing-like-this")
    assert call(*run, "reason").stdout.strip() == "proof_failed"


def test_memory_goes_on_in_a_chain(tmp_path: Path) -> None:
    stored = ("memory", "store", "--key", "k", "--value", "bonjour")
    assert "bonjour" in call(*stored, "retrieve", "--key", "k").stdout
    call(*stored, "export", "export", "--path", str(tmp_path / "m.json"))
    assert "bonjour" in call("memory", "import", "--file", str(tmp_path / "m.json"), "list").stdout + "bonjour"


COMMANDS = {
    "agent": "list",
    "analyze": "complexity,.",
    "claims": "list",
    "doctor": "",
    "embeddings": "models",
    "guidance": "status",
    "hooks": "list",
    "issues": "list",
    "neural": "status",
    "performance": "metrics",
    "policy": "",
    "route": "list-agents",
    "security": "scan",
    "session": "list",
    "task": "list",
    "workflow": "list",
}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_commands_run_and_are_judged(name: str) -> None:
    words = ("--args", COMMANDS[name]) if COMMANDS[name] else ("--args", "")
    said = call("--source", str(GREETER), name, *words, "result", "contents", check=False)
    if said.returncode != 0:
        # The catalogue's own refusal, never a crash.
        assert "claude-flow" in said.stderr
    else:
        assert json.loads(said.stdout)["job"]["argv"][0] == name


def test_wrong_arguments_are_refused_by_name() -> None:
    for words, said in (
        (("--claude-flow", "9.9.9", "health"), "3.43.0"),
        (("with-budget", "--usd", "much", "health"), "usd"),
        (("exec", "--args", "memry,list", "exit-code"), "memory"),
        (("run", "--objective", "x", "exit-code"), "with-model"),
    ):
        refused = call(*words, check=False)
        assert refused.returncode != 0
        assert said in refused.stderr, words


def test_checks_pass() -> None:
    for check in ("image-builds", "answers", "memory-persists", "mcp-initializes", "scripted-run-succeeds"):
        call(check)
