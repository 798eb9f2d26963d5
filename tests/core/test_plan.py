"""Plans: the command lines of Claude Code and claude-flow, and an environment built from nothing."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from claude_flow_dagger.errors import RuntimeInstallError
from claude_flow_dagger.job import AgentJob, CommandJob, Direct, HiveMind, Limits, Model, Network, Pins, Tools
from claude_flow_dagger.plan import (
    AgentContext,
    Credential,
    Layout,
    ModelAccess,
    Plan,
    plan_agent,
    plan_command,
    plan_commands,
    plan_memory_export,
    plan_verify,
)

LAYOUT = Layout(
    workspace="/workspace",
    home="/home/agent",
    tmp="/tmp",
    control="/run/cfd",
    node="/opt/node/bin/node",
    claude_flow="/opt/flow/cli.js",
    claude="/opt/claude/claude",
    entrypoint="/opt/entrypoint.mjs",
)
ACCESS = ModelAccess(token="run-token", socket="/run/cfd/gateway.sock")
CONTEXT = AgentContext(access=ACCESS)


def content(plan: Plan, path: str) -> str:
    return next(file.content for file in plan.files if file.path == path)


def test_direct_hands_the_objective_over_untouched_and_last() -> None:
    objective = "--help $(id) 'x'\nsecond line"
    plan = plan_agent(AgentJob(objective=objective, strategy=Direct(), limits=Limits(turns=7)), LAYOUT, CONTEXT)
    assert [step.name for step in plan.steps] == ["memory-init", "main"]
    assert plan.steps[1].argv == (
        *("/opt/claude/claude", "-p", "--output-format", "stream-json", "--verbose"),
        *("--mcp-config=/run/cfd/mcp.json", "--strict-mcp-config", "--setting-sources=", "--model=claude-sonnet-5-5"),
        *("--max-turns=7", "--disallowedTools=WebFetch,WebSearch", "--dangerously-skip-permissions"),
        *("--", objective),
    )


def test_hive_mind_initializes_spawns_and_starts_claude() -> None:
    strategy = HiveMind.model_validate(
        {"topology": "mesh", "consensus": "raft", "agents": 20, "roles": ["coder", "tester"]}
    )
    plan = plan_agent(AgentJob(objective="-x", strategy=strategy), LAYOUT, CONTEXT)
    steps = {step.name: step.argv[2:] for step in plan.steps}
    form = ("--topology=mesh", "--consensus=raft")
    assert steps == {
        "memory-init": ("memory", "init"),
        "hive-init": ("hive-mind", "init", *form, "--max-agents=20"),
        "hive-spawn-coder": ("hive-mind", "spawn", "--count=1", "--type=coder"),
        "hive-spawn-tester": ("hive-mind", "spawn", "--count=1", "--type=tester"),
        "main": (
            *("hive-mind", "spawn", "--count=18", "--type=worker", "--claude", "--non-interactive"),
            *("--objective=-x", *form),
        ),
    }
    assert "1 coder, 1 tester, 18 worker" in content(plan, "/run/cfd/system-prompt.md")
    assert all(step.argv[:2] == ("/opt/node/bin/node", "/opt/flow/cli.js") for step in plan.steps)


def test_the_environment_holds_the_token_and_the_gateway_and_nothing_of_this_machine() -> None:
    plan = plan_agent(AgentJob(objective="x", env={"GREETING": "hi", "CI": "false"}), LAYOUT, CONTEXT)
    assert plan.env["ANTHROPIC_API_KEY"] == "run-token"
    assert plan.env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:{gateway_port}"
    assert (plan.gateway_socket, plan.gateway_port, plan.lease) == ("/run/cfd/gateway.sock", 0, True)
    assert plan.env["PATH"] == "/run/cfd/bin:/opt/node/bin:/usr/local/bin:/usr/bin:/bin"
    assert plan.env["HOME"] == "/home/agent"
    assert plan.env["GREETING"] == "hi"
    assert plan.env["CI"] == "true"
    assert "CLAUDE_CODE_OAUTH_TOKEN" not in plan.env


def test_an_oauth_upstream_gets_the_token_in_its_own_variable() -> None:
    access = ModelAccess(token="t", credential=Credential.OAUTH, base_url="http://gateway:8080")
    plan = plan_agent(AgentJob(objective="x"), LAYOUT, AgentContext(access=access))
    assert plan.env["CLAUDE_CODE_OAUTH_TOKEN"] == "t"
    assert plan.env["ANTHROPIC_BASE_URL"] == "http://gateway:8080"
    assert "ANTHROPIC_API_KEY" not in plan.env
    assert plan.gateway_port is None


def test_a_ca_bundle_reaches_node_and_the_others() -> None:
    from dataclasses import replace

    plan = plan_verify("true", replace(LAYOUT, ca_bundle="/etc/ca.crt"), {})
    assert plan.env["NODE_EXTRA_CA_CERTS"] == plan.env["SSL_CERT_FILE"] == "/etc/ca.crt"
    assert "NODE_EXTRA_CA_CERTS" not in plan_verify("true", LAYOUT, {}).env


def test_the_model_is_always_named_with_its_options() -> None:
    model = Model.model_validate({"name": "claude-opus-5-5[1m]", "fallback": "claude-haiku-5-5", "effort": "high"})
    tools = Tools(allow=("Read", "Bash(npm test)"), deny=("Write",))
    job = AgentJob(objective="x", strategy=Direct(), model=model, tools=tools, network=Network.OPEN)
    argv = plan_agent(job, LAYOUT, CONTEXT).steps[-1].argv
    assert "--model=claude-opus-5-5[1m]" in argv
    assert "--fallback-model=claude-haiku-5-5" in argv
    assert "--effort=high" in argv
    assert "--permission-mode=dontAsk" in argv
    assert "--allowedTools=Read,Bash(npm test)" in argv
    assert "--disallowedTools=Write" in argv
    assert "--dangerously-skip-permissions" not in argv


def test_the_shim_drops_what_would_undo_the_jobs_flags(tmp_path: Path) -> None:
    claude = tmp_path / "it's claude"
    claude.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    claude.chmod(0o755)
    from dataclasses import replace

    layout = replace(LAYOUT, claude=str(claude))
    plan = plan_agent(AgentJob(objective="x", tools=Tools(allow=("Read",))), layout, CONTEXT)
    shim = tmp_path / "claude"
    shim.write_text(content(plan, "/run/cfd/bin/claude"))
    shim.chmod(0o755)
    given = ["--mcp-config=./.mcp.json", "-p", "--dangerously-skip-permissions", "--model=evil", "a $(id) 'b'\nc"]
    said = subprocess.run([str(shim), *given], capture_output=True, text=True, check=True, timeout=10).stdout
    assert said.splitlines()[:2] == ["--mcp-config=/run/cfd/mcp.json", "--strict-mcp-config"]
    assert said.endswith("-p\na $(id) 'b'\nc\n")
    for dropped in ("./.mcp.json", "evil", "--dangerously-skip-permissions"):
        assert dropped not in said


def test_a_long_objective_goes_through_a_file() -> None:
    objective = "é" * 60_000
    plan = plan_agent(AgentJob(objective=objective), LAYOUT, CONTEXT)
    assert content(plan, "/run/cfd/objective.md") == objective
    longest = max(len(word.encode()) for step in plan.steps for word in step.argv)
    assert longest < 1000
    assert "/run/cfd/objective.md" in plan.steps[-1].argv[-3]


def test_claude_md_and_system_prompt_reach_the_agent_as_text() -> None:
    context = AgentContext(access=ACCESS, instructions="Use tabs.", has_memory=True)
    plan = plan_agent(AgentJob(objective="x", strategy=Direct(), system_prompt="Be brief."), LAYOUT, context)
    prompt = content(plan, "/run/cfd/system-prompt.md")
    assert "Use tabs." in prompt
    assert prompt.endswith("Be brief.")
    assert "--append-system-prompt-file=/run/cfd/system-prompt.md" in plan.steps[-1].argv
    assert [step.name for step in plan.steps] == ["main"]


def test_the_mcp_server_is_claude_flow_by_the_pinned_node() -> None:
    servers = json.loads(content(plan_agent(AgentJob(objective="x"), LAYOUT, CONTEXT), "/run/cfd/mcp.json"))
    server = servers["mcpServers"]["ruflo"]
    assert [server["command"], *server["args"]] == ["/opt/node/bin/node", "/opt/flow/cli.js", "mcp", "start"]
    assert server["env"]["CLAUDE_FLOW_DISABLE_BRIDGE"] == "1"


def test_2_7_runs_its_own_swarm() -> None:
    job = AgentJob(objective="x", pins=Pins(claude_flow="2.7.47"))
    main = plan_agent(job, LAYOUT, CONTEXT).steps[-1].argv[2:]
    assert main[:3] == ("swarm", "x", "--non-interactive")
    assert list(json.loads(content(plan_agent(job, LAYOUT, CONTEXT), "/run/cfd/mcp.json"))["mcpServers"]) == [
        "claude-flow"
    ]
    assert shlex.join(main).endswith("--max-agents 3 --mode hybrid")


def test_an_agent_without_claude_code_is_an_error_that_says_how() -> None:
    from dataclasses import replace

    bare = replace(LAYOUT, claude=None)
    with pytest.raises(RuntimeInstallError, match="needs Claude Code") as caught:
        plan_agent(AgentJob(objective="x"), bare, CONTEXT)
    assert "runtime install" in (caught.value.cure or "")
    with pytest.raises(RuntimeInstallError, match="starts Claude Code"):
        plan_command(CommandJob(kind="command", argv=("daemon",)), bare, access=ACCESS)


def test_a_command_prepares_runs_and_gets_a_model_only_when_given_one() -> None:
    job = CommandJob(kind="command", argv=("memory", "store", "-k", "a b", "--value", "$(x)"))
    plan = plan_command(job, LAYOUT, prepare=(("memory", "init"),))
    assert [step.argv[2:] for step in plan.steps] == [("memory", "init"), job.argv]
    assert "ANTHROPIC_API_KEY" not in plan.env
    assert (plan.gateway_socket, plan.files) == (None, ())
    armed = plan_command(job, LAYOUT, access=ACCESS)
    assert armed.env["ANTHROPIC_API_KEY"] == "run-token"
    assert {file.path for file in armed.files} == {"/run/cfd/mcp.json", "/run/cfd/bin/claude"}


def test_checks_are_reported_and_never_required() -> None:
    plan = plan_commands(LAYOUT, {"check-0": ("memory", "retrieve", "-k", "a")}, {})
    assert [(step.name, step.required) for step in plan.steps] == [("check-0", False)]


def test_memory_export_and_verify_know_no_model() -> None:
    for plan in (plan_memory_export(LAYOUT, {}), plan_verify("pytest -q && ruff check", LAYOUT, {})):
        assert plan.gateway_socket is None
        assert not any("ANTHROPIC" in name or "CLAUDE_CODE" in name for name in plan.env)
    assert plan.steps[0].argv == ("/bin/sh", "-c", "pytest -q && ruff check")


def test_a_token_never_shows_in_a_repr() -> None:
    assert "run-token" not in repr(CONTEXT)
