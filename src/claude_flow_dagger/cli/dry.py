"""`--dry-run`: the job and its plan, as they would be, with the token's place shown and no token made."""

from __future__ import annotations

import json
import posixpath

from claude_flow_dagger.execution.commands import check_command, check_network
from claude_flow_dagger.job import AgentJob, CommandJob
from claude_flow_dagger.masking import Masker
from claude_flow_dagger.plan import AgentContext, Layout, ModelAccess, Plan, plan_agent, plan_command
from claude_flow_dagger.runners.bubblewrap import CONTROL, HOME, RUNTIME, SOCKET, TMP, WORKSPACE

# Where things are in every sandbox; nothing has to be installed to tell.
_LAYOUT = Layout(
    workspace=WORKSPACE,
    home=HOME,
    tmp=TMP,
    control=CONTROL,
    node=f"{RUNTIME}/node/bin/node",
    claude_flow=f"{RUNTIME}/claude-flow/node_modules/claude-flow/bin/cli.js",
    claude=f"{RUNTIME}/claude-code/claude",
    entrypoint=f"{RUNTIME}/entrypoint.mjs",
)


def print_plan(job: AgentJob | CommandJob, masker: Masker, *, scripted: bool) -> int:
    """Print the plan as one JSON object.

    Args:
        job: validated.
        masker: for whatever secret was written into the job.
        scripted: the model would be a script.

    Raises:
        RefusedInput: a command that the catalogue refuses.
    """
    access = ModelAccess(token="***", socket=posixpath.join(CONTROL, SOCKET))  # noqa: S106 - the mask, not a token
    plan = dry_plan(job, access)
    data = {"job": job.model_dump(mode="json"), "scripted": scripted, "plan": plan.model_dump(mode="json")}
    print(json.dumps(masker.mask_json(data), indent=2, ensure_ascii=False))
    return 0


def dry_plan(job: AgentJob | CommandJob, access: ModelAccess) -> Plan:
    """The plan of a job in the places that every sandbox has."""
    if isinstance(job, AgentJob):
        return plan_agent(job, _LAYOUT, AgentContext(access=access))
    command = check_command(job)
    check_network(command)
    given = access if command.needs_model else None
    return plan_command(command.job, _LAYOUT, prepare=command.invocation.prepare, access=given)
