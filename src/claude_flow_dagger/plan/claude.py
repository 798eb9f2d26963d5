"""Claude Code's command line, and the shim that gives it to every Claude Code that claude-flow starts."""

from __future__ import annotations

import json
import posixpath
import shlex
from typing import Final

from claude_flow_dagger.job import AgentJob, CommandJob, Model, Network, Pins, Tools
from claude_flow_dagger.plan.environment import CLAUDE_FLOW_ENV, shim_directory
from claude_flow_dagger.plan.model import File, Layout


def mcp_server(pins: Pins) -> str:
    """The name under which claude-flow's own prompts call its MCP tools.

    `mcp__ruflo__memory_store` in 3.43.0, `mcp__claude-flow__memory_usage` in 2.7.47 (seen in the prompts of both).
    """
    return "claude-flow" if pins.claude_flow.startswith("2.") else "ruflo"


# Useless behind a cut network, and refused by the gateway: better not offered to the agent at all.
WEB_TOOLS: Final = ("WebFetch", "WebSearch")


def mcp_config(layout: Layout, pins: Pins) -> File:
    """The MCP configuration with claude-flow as the one server."""
    server = {
        "type": "stdio",
        "command": layout.node,
        "args": [layout.claude_flow, "mcp", "start"],
        "env": dict(CLAUDE_FLOW_ENV),
    }
    content = json.dumps({"mcpServers": {mcp_server(pins): server}}, indent=1)
    return File(path=posixpath.join(layout.control, "mcp.json"), content=content)


def prompt_file(layout: Layout, text: str) -> File:
    """What is added to Claude Code's own system prompt."""
    return File(path=posixpath.join(layout.control, "system-prompt.md"), content=text)


def claude_flags(
    layout: Layout, *, model: Model, tools: Tools, network: Network, turns: int | None, system_prompt: str | None
) -> list[str]:
    """The job's flags. Lists are written `--flag=a,b`: the separate form would swallow the words behind it.

    An empty `--setting-sources` keeps the hooks, permissions and MCP servers of a workspace from loading.
    """
    flags = [
        f"--mcp-config={posixpath.join(layout.control, 'mcp.json')}",
        "--strict-mcp-config",
        "--setting-sources=",
        f"--model={model.name}",
    ]
    if model.fallback is not None:
        flags.append(f"--fallback-model={model.fallback}")
    if model.effort is not None:
        flags.append(f"--effort={model.effort}")
    if turns is not None:
        flags.append(f"--max-turns={turns}")
    if system_prompt is not None:
        flags.append(f"--append-system-prompt-file={posixpath.join(layout.control, 'system-prompt.md')}")
    denied = (*tools.deny, *(() if network is Network.OPEN else WEB_TOOLS))
    if denied:
        flags.append(f"--disallowedTools={','.join(denied)}")
    if tools.allow:
        flags += ["--permission-mode=dontAsk", f"--allowedTools={','.join(tools.allow)}"]
    else:
        flags.append("--dangerously-skip-permissions")
    return flags


# Flags that claude-flow may pass by itself and that would undo the job's: a workspace's `.mcp.json` above all.
_DROPPED: Final = ("--mcp-config", "--dangerously-skip-permissions", "--model", "--allowedTools", "--permission-mode")


def shim(layout: Layout, claude: str, flags: list[str]) -> File:
    """A script named `claude` that drops what would undo the job's flags, adds those, and hands over.

    POSIX sh, since only `exec` leaves no second process between claude-flow and Claude Code; an agent needs a shell
    anyway.
    """
    patterns = "|".join(f"{flag}=*" for flag in _DROPPED)
    lines = [
        "#!/bin/sh",
        "for arg do",
        "  shift",
        f'  case $arg in {patterns}|--dangerously-skip-permissions) ;; *) set -- "$@" "$arg" ;; esac',
        "done",
        f'exec {shlex.quote(claude)} {shlex.join(flags)} "$@"',
        "",
    ]
    return File(path=posixpath.join(shim_directory(layout), "claude"), content="\n".join(lines), mode=0o700)


def direct_argv(claude: str, flags: list[str], objective: str) -> tuple[str, ...]:
    """Claude Code alone. `--` keeps an objective that begins with a dash from being read as an option."""
    return (claude, "-p", "--output-format", "stream-json", "--verbose", *flags, "--", objective)


def job_flags(layout: Layout, job: AgentJob | CommandJob, system_prompt: str | None) -> list[str]:
    """`claude_flags` of a job; a command job has neither tool rules nor a prompt of its own."""
    return claude_flags(
        layout,
        model=job.model,
        tools=job.tools if isinstance(job, AgentJob) else Tools(),
        network=job.network,
        turns=job.limits.turns,
        system_prompt=system_prompt,
    )
