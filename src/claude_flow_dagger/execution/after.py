"""What is asked of a workspace once the agent has ended: its memory, and the job's own proof."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from claude_flow_dagger.commands import Line, line_of
from claude_flow_dagger.errors import InfrastructureError
from claude_flow_dagger.execution.sandboxes import Sandboxes
from claude_flow_dagger.execution.tree import Prepared
from claude_flow_dagger.job import AgentJob, CommandJob
from claude_flow_dagger.plan import plan_memory_export, plan_verify
from claude_flow_dagger.result import Ending, MemoryItem, Proof
from claude_flow_dagger.transcript import Transcript

MEMORY_FILE: Final = ".swarm/memory.db"
PROOF_LINES: Final = 100


async def read_memory(job: AgentJob | CommandJob, sandboxes: Sandboxes, workspace: Path) -> tuple[MemoryItem, ...]:
    """claude-flow's memory as a process of its own reads it back: what an agent stored and what did reach the disk.

    Returns:
        Every entry; none when the workspace has no memory or it cannot be read, and none on the 2.7 line.
    """
    if not (workspace / MEMORY_FILE).is_file() or line_of(job.pins.claude_flow) is Line.V2_7:
        # 2.7's export writes another format and leaves out what its MCP server stored (seen in 2.7.47).
        return ()
    transcript = Transcript()
    await sandboxes.run(
        "memory",
        lambda layout, _socket: plan_memory_export(layout, job.env),
        workspace=workspace,
        transcript=transcript,
        quiet=True,
    )
    return parse_memory(transcript.step("main").text())


def parse_memory(text: str) -> tuple[MemoryItem, ...]:
    """The entries of a `memory export` (schema `ruflo-memory-export/v1`, seen in 3.43.0); none from anything else."""
    try:
        data: Any = json.loads(text)
    except ValueError:
        return ()
    entries = data.get("entries") if isinstance(data, dict) else None
    return tuple(
        MemoryItem(key=key, namespace=namespace, value=value if isinstance(value, str) else None)
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict)
        and isinstance(key := entry.get("key"), str)
        and isinstance(namespace := entry.get("namespace", "default"), str)
        and (value := entry.get("value")) is not False
    )


async def run_proof(command: str, job: AgentJob | CommandJob, sandboxes: Sandboxes, tree: Prepared) -> Proof:
    """The job's verify command, on a copy of the result, in a fresh sandbox without network or gateway.

    Raises:
        InfrastructureError: the sandbox broke; that is not the result's fault.
    """
    copy = await tree.copy_of_result()
    transcript = Transcript()
    outcome = await sandboxes.run(
        "verify",
        lambda layout, _socket: plan_verify(command, layout, job.env),
        workspace=copy,
        transcript=transcript,
    )
    if outcome.ending in (Ending.BROKEN, Ending.OUT_OF_SPACE):
        raise InfrastructureError(f"the verify command could not be run: {outcome.detail}")
    lines = list(transcript.step("main").tail)[-PROOF_LINES:]
    return Proof(command=command, exit_code=outcome.exit_code, ending=outcome.ending, output="\n".join(lines))
