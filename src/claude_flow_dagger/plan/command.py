"""The plans of claude-flow commands and of a job's own proof."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence

from claude_flow_dagger.errors import RuntimeInstallError
from claude_flow_dagger.job import CommandJob
from claude_flow_dagger.plan.agent import flow
from claude_flow_dagger.plan.claude import job_flags, mcp_config, shim
from claude_flow_dagger.plan.environment import ModelAccess, base_environment, model_environment, shim_directory
from claude_flow_dagger.plan.model import File, Layout, Plan, Step


def plan_command(
    job: CommandJob,
    layout: Layout,
    *,
    prepare: Sequence[Sequence[str]] = (),
    access: ModelAccess | None = None,
    lease: bool = True,
) -> Plan:
    """The plan of a command job.

    Args:
        job: its argv has been checked against the catalogue.
        layout: where things are.
        prepare: claude-flow command lines that must have run before.
        access: given to the few commands that start Claude Code themselves.
        lease: end the sandbox when the gateway is gone.

    Raises:
        RuntimeInstallError: the command starts Claude Code and the runtime has none.
    """
    files: tuple[File, ...] = ()
    env = base_environment(layout, job.env)
    if access is not None:
        if layout.claude is None:
            raise RuntimeInstallError(
                f"`claude-flow {job.argv[0]}` starts Claude Code, and this runtime has none",
                cure="run `claude-flow-dagger runtime install`",
            )
        files = (mcp_config(layout, job.pins), shim(layout, layout.claude, job_flags(layout, job, None)))
        env |= model_environment(layout, access, job.model)
    steps = [Step(name=f"prepare-{n}", argv=flow(layout, *words)) for n, words in enumerate(prepare, 1)]
    socket = access.socket if access is not None else None
    return Plan(
        cwd=layout.workspace,
        env=env,
        directories=(layout.home, layout.tmp, shim_directory(layout)),
        files=files,
        steps=(*steps, Step(name="main", argv=flow(layout, *job.argv))),
        gateway_socket=socket,
        gateway_port=0 if socket is not None else None,
        lease=lease and socket is not None,
    )


def plan_commands(layout: Layout, commands: Mapping[str, Sequence[str]], env: Mapping[str, str]) -> Plan:
    """Several claude-flow commands, one after the other, each of them reported and none of them required.

    Args:
        layout: where things are.
        commands: by step name, the words after `claude-flow`.
        env: the job's own variables.
    """
    return Plan(
        cwd=layout.workspace,
        env=base_environment(layout, env),
        directories=(layout.home, layout.tmp),
        steps=tuple(Step(name=name, argv=flow(layout, *words), required=False) for name, words in commands.items()),
    )


def plan_memory_export(layout: Layout, env: Mapping[str, str]) -> Plan:
    """All of claude-flow's memory, read by a process of its own and written to standard output by the step `main`.

    `memory export` gives every value in one process, where `retrieve` takes one each (seen in 3.43.0).
    """
    file = posixpath.join(layout.tmp, "memory-export.json")
    export = Step(name="export", argv=flow(layout, "memory", "export", "--output", file))
    print_file = "process.stdout.write(require('fs').readFileSync(process.argv[1]))"
    return Plan(
        cwd=layout.workspace,
        env=base_environment(layout, env),
        directories=(layout.home, layout.tmp),
        steps=(export, Step(name="main", argv=(layout.node, "-e", print_file, file))),
    )


def plan_verify(command: str, layout: Layout, env: Mapping[str, str]) -> Plan:
    """A job's own proof: a shell command on the result, without a model.

    The shell is asked for on purpose here: the command is the job's author's, and says `pytest -q && ruff check`.
    """
    return Plan(
        cwd=layout.workspace,
        env=base_environment(layout, env),
        directories=(layout.home, layout.tmp),
        steps=(Step(name="main", argv=("/bin/sh", "-c", command)),),
    )
