"""Job -> Plan: which processes run in a sandbox, with which environment and files. Pure.

This package is the only place that knows the command lines of Claude Code and of claude-flow's agent commands.
"""

from claude_flow_dagger.plan.agent import AgentContext, plan_agent
from claude_flow_dagger.plan.command import plan_command, plan_commands, plan_memory_export, plan_verify
from claude_flow_dagger.plan.environment import Credential, ModelAccess
from claude_flow_dagger.plan.model import PLAN_VERSION, File, Layout, Plan, Step

__all__ = [
    "PLAN_VERSION",
    "AgentContext",
    "Credential",
    "File",
    "Layout",
    "ModelAccess",
    "Plan",
    "Step",
    "plan_agent",
    "plan_command",
    "plan_commands",
    "plan_memory_export",
    "plan_verify",
]
