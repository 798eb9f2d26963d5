"""Everything that the command line does without starting a sandbox."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from claude_flow_dagger.cli.doctor import Health, examine
from claude_flow_dagger.cli.gateway import parse_listen
from claude_flow_dagger.cli.layers import build_job, parse_env
from claude_flow_dagger.cli.main import run_cli, wants_json
from claude_flow_dagger.cli.model import choose_model
from claude_flow_dagger.config import read_settings
from claude_flow_dagger.errors import InvalidJob
from claude_flow_dagger.gateway.server import TcpAddress
from claude_flow_dagger.job import AgentJob, CommandJob, HiveMind, Topology
from claude_flow_dagger.plan.environment import Credential

ROOT = Path(__file__).parents[2]
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """Runs a command line in this process, with an environment of its own."""
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)

    def run(*words: object, **env: str) -> tuple[int, str, str]:
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        code = run_cli([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_version_names_the_pins(say: Say) -> None:
    code, out, _ = say("version", "--output", "json")
    assert code == 0
    assert json.loads(out) == {"claude-flow-dagger": "0.1.0", "claude-flow": "3.43.0", "claude-code": "2.1.330"}
    assert say("version")[1].splitlines()[1] == "claude-flow 3.43.0"


@pytest.mark.parametrize("name", ["job", "result", "model-script"])
def test_schemas_are_the_published_ones(say: Say, name: str) -> None:
    code, out, _ = say("schema", name)
    assert code == 0
    assert out == (ROOT / "schemas" / f"{name}.schema.json").read_text()


def test_the_catalogue_is_listed_and_one_command_in_full(say: Say) -> None:
    rows = json.loads(say("commands", "--output", "json")[1])
    names = {row["command"] for row in rows}
    assert {"memory store", "hive-mind spawn", "doctor"} <= names
    assert "sparc" not in names
    old = {row["command"] for row in json.loads(say("commands", "--claude-flow", "2.7.47", "-o", "json")[1])}
    assert "sparc" in old
    code, out, _ = say("commands", "memory", "store")
    assert code == 0
    assert "--value" in out
    code, out, err = say("commands", "dance")
    assert (code, out) == (2, "")
    assert "has no command `dance`" in err


def test_dry_run_prints_the_plan_without_secrets_and_runs_nothing(say: Say, tmp_path: Path) -> None:
    key = "sk-ant-api03-" + "k" * 40
    code, out, _ = say("run", f"say {key}", "--dry-run", "--agents", "2", ANTHROPIC_API_KEY=key)
    data = json.loads(out)
    assert code == 0
    assert key not in out
    assert data["job"]["strategy"]["agents"] == 2
    assert [step["name"] for step in data["plan"]["steps"]] == ["memory-init", "hive-init", "main"]
    assert data["plan"]["env"]["ANTHROPIC_API_KEY"] == "***"
    assert not (tmp_path / ".cache").exists()
    code, out, _ = say("exec", "--dry-run", "--", "memory", "list", "--format", "json")
    assert [step["argv"][2:] for step in json.loads(out)["plan"]["steps"]][-1][:2] == ["memory", "list"]


def test_refusals_are_one_json_object_in_json_mode(say: Say) -> None:
    for words, code in (
        (("run", "--output", "json"), "invalid_job"),
        (("run", "x", "--bogus", "--output", "json"), "usage"),
        (("run", "x", "--output", "json"), "missing_key"),
        (("run", "x", "--budget-usd", "-1", "--output=json"), "invalid_job"),
        (
            ("run", "x", "--source", "/none", "--model-script", ROOT / "examples/greeter/french.yaml", "-o", "json"),
            "invalid_source",
        ),
        (("exec", "-o", "ndjson", "--", "dance"), "unknown_command"),
        (("run", "x", "--apply", "--model-script", ROOT / "examples/greeter/french.yaml", "-o", "json"), "invalid_job"),
    ):
        status, out, _ = say(*words)
        assert status == 2, words
        assert json.loads(out)["error"]["code"] == code
        assert len(out.splitlines()) == 1


def test_refusals_for_people_name_the_cure(say: Say) -> None:
    code, out, err = say("run", "x")
    assert (code, out) == (2, "")
    assert err == (
        "error: this job needs a model, and there is neither a key nor a script\n"
        "  cure: set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN, or give --model-script FILE\n"
    )
    assert say("run", "--bogus")[0] == 2
    assert say("run", "x", CLAUDE_FLOW_DAGGER_RUNNER="moon", ANTHROPIC_API_KEY="k" * 20)[2].startswith(
        "error: there is no runner 'moon'"
    )


def test_help_teaches(say: Say) -> None:
    code, out, _ = say("--help")
    assert code == 0
    assert "75 infrastructure error" in out.replace("\n", " ")
    for command in ("run", "exec", "doctor", "runtime", "gateway", "commands", "schema", "version"):
        assert say(command, "--help")[0] == 0


def test_what_promises_json() -> None:
    assert wants_json(["run", "--output", "json"])
    assert wants_json(["run", "-o", "ndjson"])
    assert not wants_json(["exec", "--", "memory", "--output", "json"])
    assert not wants_json(["run", "json"])


def settings(tmp_path: Path, **environ: str) -> Any:
    return read_settings({"HOME": str(tmp_path), **environ})


def test_layers_win_in_their_order(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("objective: from the file\nlimits: {usd: 2, wall: 60}\nmodel: claude-opus-5-5\n")
    config = tmp_path / "config.yaml"
    config.write_text("job: {limits: {usd: 1, pids: 99}, model: {name: claude-haiku-5-5}}")
    found = build_job(
        settings(tmp_path, CLAUDE_FLOW_DAGGER_CONFIG=str(config), CLAUDE_FLOW_DAGGER_TIMEOUT="90"),
        file,
        {"limits": {"usd": "3", "turns": None}, "strategy": {"name": None, "topology": "mesh"}},
    )
    assert isinstance(found, AgentJob)
    assert (str(found.limits.usd), found.limits.wall, found.limits.pids) == ("3", 90, 99)
    assert (found.model.name, found.objective) == ("claude-opus-5-5", "from the file")
    assert isinstance(found.strategy, HiveMind)
    assert found.strategy.topology is Topology.MESH


def test_a_strategy_by_default_does_not_break_a_command_job(tmp_path: Path) -> None:
    environ = {"CLAUDE_FLOW_DAGGER_STRATEGY": "direct", "CLAUDE_FLOW_DAGGER_TIMEOUT": "5m"}
    found = build_job(settings(tmp_path, **environ), None, {"kind": "command", "argv": ["memory", "list"]})
    assert isinstance(found, CommandJob)
    assert found.limits.wall == 300


def test_env_arguments() -> None:
    assert parse_env(["A=b=c", "D="]) == {"A": "b=c", "D": ""}
    assert parse_env(None) is None
    with pytest.raises(InvalidJob, match="--env A: write NAME=VALUE"):
        parse_env(["A"])


def test_which_model(tmp_path: Path) -> None:
    script = ROOT / "examples/greeter/french.yaml"
    assert choose_model(settings(tmp_path), None, None) is None
    scripted = choose_model(settings(tmp_path, ANTHROPIC_API_KEY="k" * 20), script, None)
    assert scripted is not None
    assert scripted.scripted
    assert scripted.secrets == ("k" * 20,)
    for name, dialect in (
        ("ANTHROPIC_API_KEY", Credential.API_KEY),
        ("CLAUDE_CODE_OAUTH_TOKEN", Credential.OAUTH),
        ("ANTHROPIC_AUTH_TOKEN", Credential.API_KEY),
    ):
        model = choose_model(settings(tmp_path, **{name: "t" * 20}), None, "https://models.example")
        assert model is not None
        assert (model.scripted, model.credential) == (False, dialect)
        assert "t" * 20 not in repr(model)


def test_where_the_gateway_listens() -> None:
    assert parse_listen("127.0.0.1:8080") == TcpAddress("127.0.0.1", 8080)
    assert parse_listen("[::1]:0") == TcpAddress("::1", 0)
    assert parse_listen("./gw.sock") == Path("gw.sock")
    for wrong in ("8080", "host:port", "host:99999", ":80"):
        with pytest.raises(InvalidJob, match="is no HOST:PORT and no path"):
            parse_listen(wrong)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--budget-usd", "x"), "is no number"),
        (("--budget-usd", "-1"), "must be zero or more"),
        (("--timeout", "soon"), "is not a duration"),
        (("--token-file", "/none"), "cannot be read"),
        (("--listen", "x"), "is no HOST:PORT"),
    ],
)
def test_the_gateway_refuses_wrong_arguments(say: Say, words: tuple[str, ...], said: str) -> None:
    code, _, err = say("gateway", "--model-script", ROOT / "examples/greeter/french.yaml", *words)
    assert code == 2
    assert said in err


def test_a_gateway_without_a_key_and_with_a_weak_token(say: Say, tmp_path: Path) -> None:
    assert "no key to hold" in say("gateway")[2]
    weak = tmp_path / "token"
    weak.write_text("short")
    code, _, err = say("gateway", "--model-script", ROOT / "examples/greeter/french.yaml", "--token-file", weak)
    assert code == 2
    assert "at least 32 characters" in err


def test_runtime_show_and_prune_of_nothing(say: Say) -> None:
    assert json.loads(say("runtime", "show", "--output", "json")[1]) == []
    assert say("runtime", "show")[0] == 0
    assert json.loads(say("runtime", "prune", "--output", "json")[1]) == {"removed": []}
    assert say("runtime", "prune", "--all")[1] == "0 removed\n"
    code, _, err = say("runtime", "install", "--claude-flow", "9.9.9")
    assert code == 2
    assert "one of 3.43.0, 2.7.47" in err


def test_the_doctor_says_what_is_missing(say: Say, tmp_path: Path) -> None:
    found = {check.name: check for check in examine(settings(tmp_path), full=False)}
    assert found["runtime"].health is Health.WARNING
    assert "runtime install" in (found["runtime"].cure or "")
    assert found["key"].health is Health.WARNING
    assert found["python"].health is Health.OK
    code, out, _ = say("doctor", "--output", "json", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert code == 0
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert set(checks) == {"python", "disk", "runtime", "containers", "key"}
    # Only one runner needs a daemon.
    assert checks["containers"]["health"] == "warning"
    assert "none.sock: no daemon answers" in checks["containers"]["message"]


@pytest.mark.real
@pytest.mark.sandbox
@pytest.mark.usefixtures("runtime")
def test_the_doctor_tries_the_sandbox(say: Say, cache_dir: Path) -> None:
    code, out, _ = say("doctor", "--full", XDG_CACHE_HOME=str(cache_dir.parent), ANTHROPIC_API_KEY="k" * 30)
    assert code == 0
    assert "ok  runtime: node 24.19.0, claude-flow 3.43.0, claude-code 2.1.330" in out
    assert "ok  sandbox: bubblewrap, network cut off: tried just now" in out
    assert "k" * 30 not in out
    rows = json.loads(say("runtime", "show", "-o", "json", XDG_CACHE_HOME=str(cache_dir.parent))[1])
    assert {row["title"] for row in rows} >= {"claude-flow 3.43.0", "claude-code 2.1.330"}
    code, out, _ = say("runtime", "install", "-o", "json", XDG_CACHE_HOME=str(cache_dir.parent))
    assert code == 0
    assert json.loads(out)["versions"]["claude-code"] == "2.1.330"
