"""The real Claude Code, talking to a scripted model through the real gateway."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claude_flow_dagger.gateway.budget import Budget
from claude_flow_dagger.gateway.script.load import parse_script
from claude_flow_dagger.gateway.script.upstream import ScriptUpstream
from claude_flow_dagger.gateway.server import Gateway, TcpAddress
from claude_flow_dagger.gateway.wire import RunToken
from claude_flow_dagger.result import Ledger, LedgerEntry, Refusal
from claude_flow_dagger.runtime.install import Runtime

pytestmark = pytest.mark.real

MODELS = frozenset({"claude-sonnet-5-5", "claude-haiku-4-5"})


@dataclass
class Run:
    exit_code: int | None
    result: dict[str, Any]
    ledger: Ledger
    entries: list[LedgerEntry]
    workspace: Path


def run(runtime: Runtime, where: Path, script: str, *args: str, budget: Budget | None = None) -> Run:
    """Drive `claude -p` with nothing but the gateway to talk to."""
    assert runtime.claude is not None
    claude = str(runtime.claude)
    places = {name: where / name for name in ("home", "config", "tmp", "workspace")}
    for place in places.values():
        place.mkdir()
    token = RunToken.generate()
    entries: list[LedgerEntry] = []

    async def body() -> Run:
        async with Gateway.open(
            upstream=ScriptUpstream(parse_script(script, name="script.yaml"), name="script.yaml"),
            listen=TcpAddress("127.0.0.1"),
            budget=budget or Budget(),
            token=token,
            models=MODELS,
            on_entry=entries.append,
        ) as gateway:
            assert isinstance(gateway.address, TcpAddress)
            argv = ["prlimit", "--data=6000000000", claude, "-p", "Do the thing", "--output-format", "stream-json"]
            argv += ["--verbose", "--setting-sources", "", "--model", "claude-sonnet-5-5"]
            process = await asyncio.create_subprocess_exec(
                *[*argv, "--allowedTools", "Bash", "Read", "Edit", "Agent", *args],
                env={
                    "HOME": str(places["home"]),
                    "CLAUDE_CONFIG_DIR": str(places["config"]),
                    "TMPDIR": str(places["tmp"]),
                    "PATH": "/usr/bin:/bin",
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                    "CLAUDE_CODE_MAX_RETRIES": "2",
                    "ANTHROPIC_BASE_URL": gateway.address.url,
                    "ANTHROPIC_API_KEY": token.value,
                },
                cwd=places["workspace"],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=1 << 24,
            )
            try:
                out, _ = await asyncio.wait_for(process.communicate(), 90)
            finally:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    await process.wait()
        lines = [json.loads(line) for line in out.splitlines() if line.startswith(b"{")]
        result = next((line for line in reversed(lines) if line.get("type") == "result"), {})
        return Run(process.returncode, result, gateway.ledger(), entries, places["workspace"])

    return asyncio.run(body())


def test_tools_change_files_and_the_costs_agree(runtime: Runtime, tmp_path: Path) -> None:
    script = f"""
version: 1
turns:
  - thinking: I look first.
    text: I make a file.
    tools: [{{name: Bash, input: {{command: "echo hello > a.txt; cat a.txt"}}}}]
  - expect: {{last_tool_result: hello}}
    tools: [{{name: Read, input: {{file_path: {tmp_path}/workspace/a.txt}}}}]
  - tools: [{{name: Edit, input: {{file_path: {tmp_path}/workspace/a.txt, old_string: hello, new_string: bonjour}}}}]
  - {{text: Done., usage: {{input: 1000, output: 20, cache_read: 30000, cache_write: 400, cache_write_1h: 500}}}}
"""
    done = run(runtime, tmp_path, script)
    assert done.exit_code == 0
    assert done.result["is_error"] is False
    assert done.result["result"] == "Done."
    assert (done.workspace / "a.txt").read_text() == "bonjour\n"
    assert (done.ledger.requests, done.ledger.errors, done.ledger.refused) == (4, 0, 0)
    # Claude Code has a price list of its own: two witnesses of the same cost.
    assert done.ledger.cost_usd is not None
    assert float(done.ledger.cost_usd) == pytest.approx(done.result["total_cost_usd"], rel=1e-9)


def test_a_subagent_has_a_conversation_of_its_own(runtime: Runtime, tmp_path: Path) -> None:
    script = """
version: 1
conversations:
  - name: helper
    when: {first_user: PINEAPPLE}
    turns: [{text: The helper greets you.}]
  - name: lead
    turns:
      - tools:
          - name: Agent
            input: {description: greet, prompt: Say PINEAPPLE, subagent_type: general-purpose, run_in_background: false}
      - {expect: {last_tool_result: The helper greets you.}, text: All done.}
"""
    done = run(runtime, tmp_path, script)
    assert (done.exit_code, done.result["result"]) == (0, "All done.")
    assert (done.ledger.requests, done.ledger.refused) == (3, 0)


@pytest.mark.parametrize(("status", "requests"), [(401, 3), (429, 3), (529, 3), (500, 3)])
def test_a_failing_model_ends_the_run(runtime: Runtime, tmp_path: Path, status: int, requests: int) -> None:
    done = run(runtime, tmp_path, f"{{version: 1, turns: [{{error: {{status: {status}}}, repeat: 50}}]}}")
    assert done.exit_code == 1
    assert done.result.get("is_error", True) is True
    assert (done.ledger.last_status, done.ledger.errors, done.ledger.requests) == (status, requests, 0)


def test_a_limited_and_then_broken_model_is_asked_again(runtime: Runtime, tmp_path: Path) -> None:
    script = """
version: 1
turns:
  - error: {status: 429, retry_after: 1}
  - {text: A long text that breaks off, cut: {after_events: 4}}
  - {text: Whole again.}
"""
    done = run(runtime, tmp_path, script)
    assert (done.exit_code, done.result["result"]) == (0, "Whole again.")
    assert [entry.status for entry in done.entries] == [429, 200, 200]
    assert [entry.cut for entry in done.entries] == [False, True, False]
    assert (done.entries[1].at - done.entries[0].at).total_seconds() >= 1


def test_the_end_of_the_script_and_of_the_budget(runtime: Runtime, tmp_path: Path) -> None:
    turn = "{tools: [{name: Bash, input: {command: 'true'}}], usage: {input: 1000, output: 10}}"
    ended, spent = tmp_path / "ended", tmp_path / "spent"
    ended.mkdir()
    spent.mkdir()
    done = run(runtime, ended, f"{{version: 1, turns: [{turn}]}}")
    assert done.exit_code == 1
    assert done.result["api_error_status"] == 403
    assert "script.yaml has ended" in done.result["result"]
    assert done.ledger.refusals == {Refusal.SCRIPT_ENDED: 1}
    done = run(runtime, spent, f"{{version: 1, turns: [{turn}, {turn}, {turn}]}}", budget=Budget(tokens=1500))
    assert done.exit_code == 1
    assert "budget of 1500 tokens is spent" in done.result["result"]
    assert done.ledger.refusals == {Refusal.BUDGET_TOKENS: 1}
    assert done.ledger.requests == 2


def test_the_fallback_model_is_asked_by_its_name(runtime: Runtime, tmp_path: Path) -> None:
    script = "{version: 1, turns: [{error: {status: 529}, repeat: 3}, {text: From the other.}]}"
    done = run(runtime, tmp_path, script, "--fallback-model", "claude-haiku-4-5")
    assert (done.exit_code, done.result["result"]) == (0, "From the other.")
    assert [entry.model for entry in done.entries] == ["claude-sonnet-5-5"] * 3 + ["claude-haiku-4-5"]
