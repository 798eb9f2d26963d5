"""The README's first command, with the real claude-flow and the real Claude Code; the model is a script."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from claude_flow_dagger.runtime.install import Runtime
from e2e.conftest import GREETER, Cli, Place, contents

pytestmark = [pytest.mark.real, pytest.mark.sandbox, pytest.mark.usefixtures("runtime")]

Script = Callable[[str], Path]
TALK = "turns: [{text: I could do that.}]"


@pytest.mark.parametrize("strategy", ["hive-mind", "direct"])
def test_the_first_command(cli: Cli, place: Place, greeter: Path, runtime: Runtime, strategy: str) -> None:
    before = contents(greeter)
    words = ("Greet in French too", "--source", greeter, "--model-script", GREETER / "french.yaml")
    ran = cli("run", *words, "--strategy", strategy, "--output", "json")
    result = ran.json
    assert (ran.code, result["verdict"], result["scripted"]) == (0, "succeeded", True), ran.err
    assert contents(greeter) == before

    # The patch is git's: it applies to the source, and what comes out does what was asked.
    subprocess.run(["git", "apply"], cwd=greeter, input=result["patch"], text=True, timeout=30, check=True)
    program = "import('./greet.js').then(m => console.log(m.greet('Ada', 'fr')))"
    said = subprocess.run(
        [str(runtime.node), "-e", program], cwd=greeter, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    assert said == "Bonjour, Ada !\n"

    # What the gateway counted, and what a separate claude-flow process reads back.
    assert result["ledger"]["requests"] == 5
    assert result["ledger"]["output_tokens"] > 0
    assert float(result["ledger"]["cost_usd"]) > 0
    assert [(item["namespace"], item["key"]) for item in result["memory"]] == [("default", "greeter/languages")]
    assert "GREETINGS" in result["memory"][0]["value"]
    assert {change["path"] for change in result["changes"]} == {"greet.js", "greet.test.js"}
    assert result["isolation"] == place.isolation
    assert result["peak_memory"] > 50 * 1024**2


def test_text_for_people_and_apply(cli: Cli, greeter: Path, tmp_path: Path) -> None:
    patch = tmp_path / "out.patch"
    words = ("Greet in French too", "--source", greeter, "--model-script", GREETER / "french.yaml", "--patch", patch)
    ran = cli("run", *words, "--strategy", "direct", "--verify", "node --test", "--apply")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("succeeded: the agent changed files; the verify command passed\n")
    assert "the model was a script" in ran.out
    assert "+  fr: (name) => `Bonjour, ${name} !`," in ran.out
    assert "tool Edit greet.js" in ran.err
    assert "\x1b" not in ran.out + ran.err
    assert "Bonjour" in (greeter / "greet.js").read_text()
    assert patch.read_text().startswith("diff --git a/greet.js b/greet.js\n")
    assert sorted(path.name for path in greeter.iterdir()) == sorted(path.name for path in GREETER.iterdir())


def test_ndjson_is_events_and_then_the_result(cli: Cli, greeter: Path) -> None:
    words = ("x", "--source", greeter, "--model-script", GREETER / "french.yaml", "--strategy", "direct")
    ran = cli("run", *words, "--output", "ndjson")
    events = [json.loads(line) for line in ran.out.splitlines()]
    kinds = [event["type"] for event in events]
    assert kinds[0] == "started"
    assert kinds[-1] == "result"
    assert {"text", "tool", "tool_result", "request", "step"} <= set(kinds)
    assert events[-1]["result"]["verdict"] == "succeeded"
    costs = [float(event["cost_usd"]) for event in events if event["type"] == "request"]
    assert costs == sorted(costs)
    assert costs[-1] == float(events[-1]["result"]["ledger"]["cost_usd"])


def test_a_spent_budget(cli: Cli, greeter: Path) -> None:
    before = contents(greeter)
    words = ("Greet in French too", "--source", greeter, "--model-script", GREETER / "french.yaml", "--apply")
    ran = cli("run", *words, "--budget-usd", "0.0001", "--output", "json")
    assert (ran.code, ran.json["verdict"], ran.json["reason"]) == (4, "budget_exceeded", "budget_usd")
    # One response's output may go over, and not a request more is answered.
    assert ran.json["ledger"]["requests"] == 1
    assert contents(greeter) == before


@pytest.mark.parametrize(
    ("status", "code", "verdict", "reason"),
    [(401, 1, "failed", "model_auth"), (529, 75, "infrastructure_error", "model_unavailable")],
)
def test_a_model_that_refuses(
    cli: Cli, greeter: Path, script: Script, status: int, code: int, verdict: str, reason: str
) -> None:
    file = script(f"turns: [{{error: {{status: {status}}}, repeat: 100}}]")
    ran = cli("run", "x", "--source", greeter, "--model-script", file, "--output", "json")
    assert (ran.code, ran.json["verdict"], ran.json["reason"]) == (code, verdict, reason)
    assert ran.json["retryable"] == (code == 75)
    assert ran.json["duration_s"] < 30


def test_an_agent_that_never_reaches_its_model(cli: Cli, greeter: Path, script: Script) -> None:
    # `/cost` is answered by Claude Code itself: rc 0, a result event without an error, and no request.
    ran = cli(
        "run", "/cost", "--strategy", "direct", "--source", greeter, "--model-script", script(TALK), "--output", "json"
    )
    assert (ran.code, ran.json["verdict"], ran.json["reason"]) == (3, "no_work", "model_not_reached")
    assert ran.json["ledger"]["requests"] == 0


def test_changes_were_expected_from_a_model_that_only_talks(cli: Cli, greeter: Path, script: Script) -> None:
    words = ("x", "--strategy", "direct", "--source", greeter, "--model-script", script(TALK), "--output", "json")
    ran = cli("run", *words, "--expect", "changes")
    assert (ran.code, ran.json["verdict"], ran.json["reason"]) == (3, "no_work", "no_changes")
    assert cli("run", *words, "--expect", "answer").json["answer"]["text"] == "I could do that."


def test_a_proof_that_fails(cli: Cli, greeter: Path) -> None:
    words = ("x", "--strategy", "direct", "--source", greeter, "--model-script", GREETER / "french.yaml", "--apply")
    ran = cli("run", *words, "--verify", "echo said >&2; touch made; exit 7", "--output", "json")
    assert (ran.code, ran.json["verdict"], ran.json["reason"]) == (1, "failed", "proof_failed")
    assert (ran.json["proof"]["exit_code"], ran.json["proof"]["output"]) == (7, "said")
    assert "made" not in ran.json["patch"]
    assert "Bonjour" not in (greeter / "greet.js").read_text()


def test_a_proof_has_no_network_no_gateway_and_no_key(cli: Cli, greeter: Path) -> None:
    words = ("x", "--strategy", "direct", "--source", greeter, "--model-script", GREETER / "french.yaml")
    look = "env | grep -c ANTHROPIC; ls /run/cfd; tail -n +3 /proc/net/dev | grep -vc lo:; exit 1"
    ran = cli("run", *words, "--verify", look, "--output", "json", env={"ANTHROPIC_API_KEY": "sk-ant-" + "k" * 40})
    assert ran.json["proof"]["output"].splitlines() == ["0", "plan.json", "0"]


def test_a_denied_tool_is_not_a_success(cli: Cli, greeter: Path, script: Script, tmp_path: Path) -> None:
    turns = "turns: [{tools: [{name: Bash, input: {command: touch made}}]}, {text: All done.}]"
    job = tmp_path / "job.yaml"
    job.write_text("objective: x\nstrategy: direct\nexpect: changes\ntools: {allow: [Read]}\n")
    ran = cli("run", "--file", job, "--source", greeter, "--model-script", script(turns), "--output", "json")
    assert (ran.code, ran.json["verdict"]) == (5, "policy_denied")
    assert ran.json["answer"]["is_error"] is False
    assert [denial["tool"] for denial in ran.json["answer"]["denials"]] == ["Bash"]


def test_a_script_that_ends_too_early(cli: Cli, greeter: Path, script: Script) -> None:
    turns = "turns: [{tools: [{name: Bash, input: {command: ls}}]}]"
    ran = cli("run", "x", "--strategy", "direct", "--source", greeter, "--model-script", script(turns), "-o", "json")
    assert (ran.code, ran.json["reason"]) == (1, "script_ended")
    assert "script.yaml" in ran.json["message"]
    assert "1 turn" in ran.json["message"]


def test_state_is_handed_out_and_taken_in_again(cli: Cli, greeter: Path, script: Script, tmp_path: Path) -> None:
    state = tmp_path / "state"
    words = ("--source", greeter, "--state", state, "--strategy", "direct", "--output", "json")
    first = cli("run", "x", *words, "--model-script", GREETER / "french.yaml")
    assert first.json["verdict"] == "succeeded"
    found = cli("exec", "--state", state, "--output", "json", "--", "memory", "retrieve", "-k", "greeter/languages")
    assert found.code == 0, found.out
    assert "GREETINGS" in json.dumps(found.json["output"])
    second = cli("run", "x", *words, "--model-script", script(TALK))
    assert [item["key"] for item in second.json["memory"]] == ["greeter/languages"]


def test_in_place_changes_the_source_and_leaves_no_state(cli: Cli, greeter: Path) -> None:
    subprocess.run(["git", "init", "-q", str(greeter)], check=True, timeout=30)
    git = contents(greeter / ".git")
    words = ("x", "--strategy", "direct", "--source", greeter, "--model-script", GREETER / "french.yaml", "--in-place")
    ran = cli("run", *words, "--output", "json")
    assert ran.json["verdict"] == "succeeded"
    assert "Bonjour" in (greeter / "greet.js").read_text()
    assert not (greeter / ".swarm").exists()
    assert not (greeter / ".claude-flow").exists()
    assert contents(greeter / ".git") == git
