"""The module's functions against Dagger's official schema: what they send, what they refuse, where the key goes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dagger.mod._exceptions import FunctionError
from module_calls import ANSWER, KEY, Calls, frames
from schema_server import Made

pytestmark = pytest.mark.go
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def keyed(calls: Calls) -> dict[str, Any]:
    state = calls.create(source=calls.server.new("Directory", "source"))
    return calls.call("with_model", state, key=calls.secret)


def sandboxes(calls: Calls) -> list[Made]:
    return [made for made in calls.server.find("sync") if made.called("withExec")]


def test_the_registration_is_valid_and_everything_has_text(calls: Calls, tmp_path: Path) -> None:
    calls.register(tmp_path / "types.json")
    (registered,) = [made for made in calls.server._ids.values() if str(made).startswith("module.withDescription")]
    functions = [c for call in registered.called("withObject") for c in call.args["typeDef"].called("withFunction")]
    assert len(functions) > 60
    for call in functions:
        function = call.args["function"]
        assert function.called("withDescription"), str(function)
        for arg in function.called("withArg"):
            assert arg.args.get("description"), f"{function}: {arg.args['name']}"
    names = {call.args["function"].calls[0].args["name"] for call in functions}
    assert {"run", "exec", "memory", "with_model", "changes", "import", "matrix"} <= names


def test_a_run_is_a_gateway_and_a_sandbox(calls: Calls, keyed: dict[str, Any]) -> None:
    run = calls.call("run", keyed, objective="Say so", direct=True)
    assert (run["verdict"], run["exit_code"]) == ("SUCCEEDED", 0)
    (agent,) = sandboxes(calls)
    (service,) = [args["service"] for args in agent.args_of("withServiceBinding")]
    assert [args["alias"] for args in agent.args_of("withServiceBinding")] == ["gateway"]
    assert service.calls[-1].name == "start"
    secrets = {args["name"]: str(args["secret"]) for args in service.args_of("withSecretVariable")}
    assert secrets["ANTHROPIC_API_KEY"] == "theKey"
    assert set(secrets) == {
        "ANTHROPIC_API_KEY",
        "CLAUDE_FLOW_DAGGER_RUN_TOKEN",
        "CLAUDE_FLOW_DAGGER_LEDGER_TOKEN",
    }
    (ledger,) = [made for made in calls.server.find("contents") if made.calls[0].name == "http"]
    assert str(ledger.calls[0].args["authHeader"]).startswith('setSecret(name="cfd-authorization-')
    assert [made.calls[-1].args for made in calls.server.find("stop")] == [{"kill": True}]


def test_the_key_reaches_the_gateway_and_nothing_else(calls: Calls, keyed: dict[str, Any]) -> None:
    calls.call("run", keyed, objective="Say so")
    holders = []
    for made in calls.server.asked:
        for call in made.every():
            holders += [call.name for value in call.args.values() if isinstance(value, Made) and str(value) == "theKey"]
            if call.name != "setSecret":
                assert KEY not in str(call)
    assert set(holders) == {"withSecretVariable"}
    (agent,) = sandboxes(calls)
    assert not agent.called("withSecretVariable")
    assert not calls.server.find("plaintext")


def test_two_runs_never_share_a_cached_exec(calls: Calls, keyed: dict[str, Any]) -> None:
    for _ in range(2):
        calls.call("run", keyed, objective="Say so")
    nonces = [
        args["value"]
        for made in sandboxes(calls)
        for args in made.args_of("withEnvVariable")
        if args["name"] == "CLAUDE_FLOW_DAGGER_RUN"
    ]
    assert len(set(nonces)) == 2


def test_a_workspace_never_has_a_git_directory_of_the_agents(calls: Calls, keyed: dict[str, Any]) -> None:
    run = calls.call("run", keyed, objective="Say so")
    made = calls.server.made(run["workspace_directory"])
    (kept,) = made.args_of("filter")
    assert {"**/.[gG][iI][tT]", ".[gG][iI][tT]"} <= set(kept["exclude"])
    (back,) = made.args_of("withDirectory")
    assert (str(back["source"]), back["include"]) == ("source", [".git", ".git/**"])


def test_a_failing_agent_is_data(calls: Calls, keyed: dict[str, Any]) -> None:
    calls.server.answers |= {"Container.exitCode": 1, "Container.stdout": frames(ANSWER, code=1)}
    run = calls.call("run", keyed, objective="Say so")
    assert run["verdict"] == "FAILED"
    with pytest.raises(FunctionError, match="the run ended as failed"):
        calls.call("assert_succeeded", run, kind="Run")


def test_a_next_run_goes_on_where_the_last_one_ended(calls: Calls, keyed: dict[str, Any]) -> None:
    first = calls.call("run", keyed, objective="First")
    calls.call("run", first, kind="Run", objective="Second")
    second = sandboxes(calls)[1]
    (workspace,) = [args["source"] for args in second.args_of("withMountedDirectory") if args["path"] == "/workspace"]
    assert str(calls.server.made(first["workspace_directory"])) in str(workspace)
    assert ".swarm/**" in str(workspace)


@pytest.mark.parametrize("name", ["result", "patch", "logs", "events", "ledger", "changes", "artifacts", "state"])
def test_what_a_run_hands_out(calls: Calls, keyed: dict[str, Any], name: str) -> None:
    run = calls.call("run", keyed, objective="Say so")
    assert calls.call(name, run, kind="Run") is not None


@pytest.mark.parametrize("name", ["swarm", "hive_mind", "sparc", "github"])
def test_agent_recipes_are_runs(calls: Calls, keyed: dict[str, Any], name: str) -> None:
    assert calls.call(name, keyed, objective="Say so")["verdict"] == "SUCCEEDED"


def test_every_generated_command_reaches_the_catalogue(calls: Calls) -> None:
    state = calls.create()
    for name in ("agent", "analyze", "claims", "neural", "task", "workflow", "session", "hooks"):
        with pytest.raises(FunctionError, match="no-such-thing"):
            calls.call(name, state, args=["no-such-thing"])
    assert calls.server.asked == []


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("with_budget", {"usd": "much"}, "usd"),
        ("with_limits", {"timeout": "soon"}, "wall"),
        ("with_limits", {"turns": 0}, "turns"),
        ("with_env", {"name": "PATH", "value": "/x"}, "PATH"),
        ("with_secret", {"name": "../x", "secret": None}, "--name"),
        ("with_cache", {"path": "x", "key": "k"}, "--path"),
        ("with_mcp_server", {"name": "x", "command": []}, "--command"),
        ("with_model", {}, "--key or --oauth"),
        ("run", {"objective": " "}, "blank"),
        ("run", {"objective": "x", "agents": 0}, "agents"),
        ("run", {"objective": "x"}, "with-model"),
        ("exec", {"args": ["memry", "list"]}, "memory"),
        ("matrix", {"versions": ["1.0"], "args": ["memory", "list"]}, "3.43.0"),
        ("publish", {"address": "x", "username": "u"}, "--password"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_built(
    calls: Calls, name: str, args: dict[str, Any], said: str
) -> None:
    state = calls.create()
    if "secret" in args:
        args = {**args, "secret": calls.secret}
    with pytest.raises(FunctionError, match=said):
        calls.call(name, state, **args)
    assert calls.server.asked == []


def test_a_wrong_version_is_refused_by_the_constructor(calls: Calls) -> None:
    with pytest.raises(FunctionError, match=r"3\.43\.0"):
        calls.create(claude_flow="9.9")


def test_secrets_caches_and_servers_reach_the_sandbox(calls: Calls, keyed: dict[str, Any]) -> None:
    state = calls.call("with_secret", keyed, name="NPM", secret=calls.server.new("Secret", "npm"))
    state = calls.call("with_cache", state, path="/cache", key="k")
    state = calls.call("with_mcp_server", state, name="more", command=["more-server", "--stdio"])
    calls.call("run", state, objective="Say so", direct=True)
    (agent,) = sandboxes(calls)
    assert [args["path"] for args in agent.args_of("withMountedSecret")] == ["/run/secrets/NPM"]
    assert [args["path"] for args in agent.args_of("withMountedCache")] == ["/cache"]
    (control,) = [args["source"] for args in agent.args_of("withMountedDirectory") if args["path"] == "/run/cfd"]
    plan = json.loads(control.args_of("withNewFile")[0]["contents"])
    (config,) = [file["content"] for file in plan["files"] if file["path"].endswith("mcp.json")]
    assert set(json.loads(config)["mcpServers"]) == {"more", "ruflo"}


def test_publish_logs_in_with_a_secret(calls: Calls) -> None:
    calls.call("publish", calls.create(), address="r.example/a:1", username="u", password=calls.secret)
    (pushed,) = calls.server.find("publish")
    assert str(pushed.args_of("withRegistryAuth")[0]["secret"]) == "theKey"


def test_the_generated_functions_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/make-dagger-functions"), "--check"], timeout=120, check=False
    )
    assert done.returncode == 0, "run scripts/make-dagger-functions"


def test_importing_the_module_loads_nothing_heavy() -> None:
    code = "import dagger, sys; before = set(sys.modules); import claude_flow; print(sorted(set(sys.modules) - before))"
    path = f"{ROOT}/module/src:{ROOT}/src"
    env = {"PYTHONPATH": path, "DAGGER_MAIN_OBJECT": "ClaudeFlow", "DAGGER_MODULE": "claude-flow"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=env)
    heavy = {"httpx2", "uvicorn", "pygit2", "genai_prices", "typer", "claude_flow_dagger.execution", "yaml"}
    assert heavy & set(json.loads(done.stdout.replace("'", '"'))) == set()
