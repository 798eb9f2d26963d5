"""`run` and `exec`: a job from the command line to its exit status."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from claude_flow_dagger.cli import options as o
from claude_flow_dagger.cli.container import ContainerOptions
from claude_flow_dagger.cli.dry import print_plan
from claude_flow_dagger.cli.layers import build_job, parse_env
from claude_flow_dagger.cli.model import choose_model
from claude_flow_dagger.cli.start import Asked, start
from claude_flow_dagger.config import take_settings
from claude_flow_dagger.masking import Masker


def run(
    objective: Annotated[str | None, typer.Argument(help="What the agents shall do, in words.")] = None,
    source: o.Source = None,
    in_place: o.InPlace = False,
    file: o.File = None,
    runner: o.Runner = None,
    image: o.Image = None,
    setup: o.SetUp = None,
    oci_runtime: o.OciRuntime = None,
    strategy: o.Strategy = None,
    topology: o.TopologyOption = None,
    agents: o.Agents = None,
    model: o.Model = None,
    model_script: o.ModelScript = None,
    model_url: o.ModelUrl = None,
    budget_usd: o.BudgetUsd = None,
    max_turns: o.MaxTurns = None,
    timeout: o.Timeout = None,
    expect: o.ExpectOption = None,
    verify: o.Verify = None,
    network: o.NetworkOption = None,
    state: o.State = None,
    mount: o.Mount = None,
    env: o.Env = None,
    claude_flow: o.ClaudeFlowVersion = None,
    apply: o.Apply = False,
    patch: o.PatchFile = None,
    ledger: o.LedgerFile = None,
    output: o.OutputOption = o.Output.TEXT,
    dry_run: o.DryRun = False,
    allow_unsandboxed: o.AllowUnsandboxed = False,
) -> int:
    """Let agents work on a directory, under a budget, and judge by evidence what came of it.

    The agents work in a copy, in a sandbox that reaches the model and nothing else; what you get is a verdict, a patch
    and a ledger. Exit statuses are those of the verdict (see claude-flow-dagger --help).

    Without a key, with a script that plays the model:

        claude-flow-dagger run "Greet in French too" --source examples/greeter \\
          --model-script examples/greeter/french.yaml

    With a key in ANTHROPIC_API_KEY, proven by the repository's own tests:

        claude-flow-dagger run "Fix the failing test" --source . --budget-usd 2 --verify "npm test" --apply
    """
    settings = take_settings()
    named = None if strategy is None and topology is None and agents is None else strategy or o.StrategyName.HIVE_MIND
    arguments: dict[str, Any] = {
        "kind": "agent" if objective is not None else None,
        "objective": objective,
        "strategy": {"name": named and named.value, "topology": topology and topology.value, "agents": agents},
        "model": {"name": model},
        "limits": {"usd": budget_usd, "turns": max_turns, "wall": timeout},
        "expect": expect and expect.value,
        "verify": verify,
        "network": network and network.value,
        "mounts": mount,
        "env": parse_env(env),
        "pins": {"claude_flow": claude_flow},
    }
    job = build_job(settings, file, arguments)
    asked = Asked(
        settings=settings,
        runner=o.choose_runner(runner, settings.runner),
        container=ContainerOptions(image=image, setup=setup, runtime=oci_runtime),
        job=job,
        model=choose_model(settings, model_script, model_url),
        source=source,
        in_place=in_place,
        apply=apply,
        state=state,
        patch=patch,
        ledger=ledger,
        output=output,
        allow_unsandboxed=allow_unsandboxed,
    )
    if dry_run:
        return print_plan(job, Masker(settings.secrets()), scripted=model_script is not None)
    return start(asked)


def exec_command(
    argv: Annotated[list[str], typer.Argument(help="The command, after `--`.", metavar="-- COMMAND…")],
    source: o.Source = None,
    in_place: o.InPlace = False,
    runner: o.Runner = None,
    image: o.Image = None,
    setup: o.SetUp = None,
    oci_runtime: o.OciRuntime = None,
    model_script: o.ModelScript = None,
    model_url: o.ModelUrl = None,
    budget_usd: o.BudgetUsd = None,
    timeout: o.Timeout = None,
    network: o.NetworkOption = None,
    state: o.State = None,
    env: o.Env = None,
    claude_flow: o.ClaudeFlowVersion = None,
    apply: o.Apply = False,
    patch: o.PatchFile = None,
    ledger: o.LedgerFile = None,
    output: o.OutputOption = o.Output.TEXT,
    dry_run: o.DryRun = False,
    allow_unsandboxed: o.AllowUnsandboxed = False,
) -> int:
    """Run one claude-flow command, checked before by the catalogue and afterwards by what it really did.

    Unknown subcommands and options are refused, JSON is cut out of log lines, what was stored is read back, and exit
    statuses that lie are not believed. `claude-flow-dagger commands` lists what there is.

        claude-flow-dagger exec --state .state -- memory store -k greeting --value bonjour
        claude-flow-dagger exec --state .state -- memory search -q greeting --format json
    """
    settings = take_settings()
    arguments: dict[str, Any] = {
        "kind": "command",
        "argv": argv,
        "limits": {"usd": budget_usd, "wall": timeout},
        "network": network and network.value,
        "env": parse_env(env),
        "pins": {"claude_flow": claude_flow},
    }
    job = build_job(settings, None, arguments)
    asked = Asked(
        settings=settings,
        runner=o.choose_runner(runner, settings.runner),
        container=ContainerOptions(image=image, setup=setup, runtime=oci_runtime),
        job=job,
        model=choose_model(settings, model_script, model_url),
        source=source,
        in_place=in_place,
        apply=apply,
        state=state,
        patch=patch,
        ledger=ledger,
        output=output,
        allow_unsandboxed=allow_unsandboxed,
    )
    if dry_run:
        return print_plan(job, Masker(settings.secrets()), scripted=model_script is not None)
    return start(asked)
