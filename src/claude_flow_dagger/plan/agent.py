"""The plan of an agent job: Claude Code alone, or claude-flow's hive mind that starts it."""

from __future__ import annotations

import posixpath
from collections import Counter
from dataclasses import dataclass
from typing import Final, assert_never

from claude_flow_dagger.errors import RuntimeInstallError
from claude_flow_dagger.job import AgentJob, Direct, HiveMind
from claude_flow_dagger.plan.claude import direct_argv, job_flags, mcp_config, prompt_file, shim
from claude_flow_dagger.plan.environment import ModelAccess, base_environment, model_environment, shim_directory
from claude_flow_dagger.plan.model import File, Layout, Plan, Step

# Linux hands no single argument above 128 KiB to a process, and the hive mind's prompt holds the objective twice.
MAX_ARGUMENT: Final = 48_000


@dataclass(frozen=True, kw_only=True)
class AgentContext:
    """What a plan must know of the workspace and of where it runs.

    Args:
        access: how the sandbox reaches its model.
        has_memory: the state passed in already has claude-flow's memory; initializing it again would be refused.
        instructions: the workspace's CLAUDE.md, read as text; Claude Code does not load it itself, since that would
            load the workspace's hooks and settings too.
        lease: end the sandbox when the gateway is gone.
    """

    access: ModelAccess
    has_memory: bool = False
    instructions: str | None = None
    lease: bool = True


def plan_agent(job: AgentJob, layout: Layout, context: AgentContext) -> Plan:
    """The plan of an agent job.

    Raises:
        RuntimeInstallError: the runtime has no Claude Code.
    """
    if layout.claude is None:
        raise RuntimeInstallError(
            "an agent needs Claude Code, and this runtime has none",
            cure="run `claude-flow-dagger runtime install`; an image needs it as a build argument",
        )
    system_prompt = _system_prompt(job, context)
    flags = job_flags(layout, job, system_prompt)
    objective, objective_files = _objective(job, layout)
    match job.strategy:
        case Direct():
            steps: tuple[Step, ...] = (Step(name="main", argv=direct_argv(layout.claude, flags, objective)),)
            shims: tuple[File, ...] = ()
        case HiveMind():
            steps = _hive_steps(job, job.strategy, layout, objective)
            shims = (shim(layout, layout.claude, flags),)
        case _:
            assert_never(job.strategy)
    memory = () if context.has_memory else (Step(name="memory-init", argv=flow(layout, "memory", "init")),)
    prompts = (prompt_file(layout, system_prompt),) if system_prompt is not None else ()
    return Plan(
        cwd=layout.workspace,
        env=base_environment(layout, job.env) | model_environment(layout, context.access, job.model),
        directories=(layout.home, layout.tmp, shim_directory(layout)),
        files=(mcp_config(layout, job.pins), *prompts, *objective_files, *shims),
        steps=(*memory, *steps),
        gateway_socket=context.access.socket,
        gateway_port=0 if context.access.socket is not None else None,
        lease=context.lease and context.access.socket is not None,
    )


def flow(layout: Layout, *words: str) -> tuple[str, ...]:
    """The argv of a claude-flow command: Node by its path, so that no shebang and no PATH decides."""
    return (layout.node, layout.claude_flow, *words)


def worker_groups(strategy: HiveMind) -> list[tuple[str, int]]:
    """How many workers of which type: the roles in order, repeated as often as named, the rest plain workers."""
    counts = Counter(strategy.roles)
    rest = strategy.agents - len(strategy.roles)
    return [*counts.items(), *([("worker", rest)] if rest > 0 else [])]


def _hive_steps(job: AgentJob, strategy: HiveMind, layout: Layout, objective: str) -> tuple[Step, ...]:
    if job.pins.claude_flow.startswith("2."):
        # 2.7's own `swarm` takes the objective first, and waits for a terminal without --non-interactive (2.7.47).
        words = ("swarm", objective, "--non-interactive", "--output-format", "stream-json")
        options = ("--max-agents", str(strategy.agents), "--mode", _mode_27(strategy))
        return (Step(name="main", argv=flow(layout, *words, *options)),)
    size = max(15, strategy.agents)
    form = (f"--topology={strategy.topology}", f"--consensus={strategy.consensus}")
    init = Step(name="hive-init", argv=flow(layout, "hive-mind", "init", *form, f"--max-agents={size}"))
    *others, (last_type, last_count) = worker_groups(strategy)
    spawns = (
        Step(name=f"hive-spawn-{kind}", argv=flow(layout, "hive-mind", "spawn", f"--count={count}", f"--type={kind}"))
        for kind, count in others
    )
    workers = ("hive-mind", "spawn", f"--count={last_count}", f"--type={last_type}", "--claude", "--non-interactive")
    main = Step(name="main", argv=flow(layout, *workers, f"--objective={objective}", *form))
    return (init, *spawns, main)


def _mode_27(strategy: HiveMind) -> str:
    # 2.7 knows centralized, distributed, hierarchical, mesh and hybrid (seen in `swarm --help` of 2.7.47).
    return {"hierarchical-mesh": "hybrid", "adaptive": "hybrid"}.get(strategy.topology.value, strategy.topology.value)


def _objective(job: AgentJob, layout: Layout) -> tuple[str, tuple[File, ...]]:
    if len(job.objective.encode()) <= MAX_ARGUMENT:
        return job.objective, ()
    path = posixpath.join(layout.control, "objective.md")
    pointer = f"Your objective is the text of the file {path}. Read that file completely first, then do what it says."
    return pointer, (File(path=path, content=job.objective),)


def _system_prompt(job: AgentJob, context: AgentContext) -> str | None:
    parts = []
    if isinstance(job.strategy, HiveMind) and job.strategy.roles and not job.pins.claude_flow.startswith("2."):
        # `hive-mind spawn` takes one type a call, and its prompt only tells of the workers of the last call.
        workers = ", ".join(f"{count} {kind}" for kind, count in worker_groups(job.strategy))
        parts.append(f"The hive's registered workers are: {workers}.")
    if context.instructions is not None:
        parts.append(f"The repository's CLAUDE.md says:\n\n{context.instructions}")
    if job.system_prompt is not None:
        parts.append(job.system_prompt)
    return "\n\n".join(parts) or None
