"""The options that several commands share, described once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from claude_flow_dagger.errors import InvalidJob
from claude_flow_dagger.job import Expect, Network, Topology


class Output(StrEnum):
    """How a command speaks."""

    TEXT = "text"
    JSON = "json"
    NDJSON = "ndjson"


class RunnerName(StrEnum):
    """Where jobs run."""

    LOCAL = "local"
    CONTAINER = "container"


def choose_runner(argument: RunnerName | None, setting: str | None) -> RunnerName:
    """The runner that was asked for: the argument wins over the settings.

    Raises:
        InvalidJob: the settings name one that does not exist.
    """
    if argument is not None or setting is None:
        return argument or RunnerName.LOCAL
    try:
        return RunnerName(setting)
    except ValueError:
        known = ", ".join(RunnerName)
        raise InvalidJob(
            f"there is no runner {setting!r}", cure=f"CLAUDE_FLOW_DAGGER_RUNNER is one of {known}"
        ) from None


class StrategyName(StrEnum):
    """How an agent job is worked on."""

    HIVE_MIND = "hive-mind"
    DIRECT = "direct"


Source = Annotated[
    Path | None,
    typer.Option("--source", "-s", help="Directory that the agents work on. They get a copy.", metavar="DIR"),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Work in the source itself instead of in a copy.")]
File = Annotated[
    Path | None,
    typer.Option("--file", "-f", help="Job file (YAML or JSON). Arguments win over it.", metavar="JOB.yaml"),
]
Runner = Annotated[RunnerName | None, typer.Option("--runner", help="Where the job runs. [default: local]")]
Image = Annotated[
    str | None,
    typer.Option(
        "--image", help="With --runner container: your own image; the runtime is laid onto it.", metavar="IMAGE"
    ),
]
SetUp = Annotated[
    str | None,
    typer.Option(
        "--setup", help="Prepares the image: a shell command, as root, with network. Done once, kept.", metavar="CMD"
    ),
]
OciRuntime = Annotated[
    str | None, typer.Option("--runtime", help="The daemon's runtime for the sandbox, such as runsc.", metavar="NAME")
]
Strategy = Annotated[
    StrategyName | None,
    typer.Option("--strategy", help="hive-mind: claude-flow's own coordination. direct: Claude Code with its tools."),
]
TopologyOption = Annotated[Topology | None, typer.Option("--topology", help="How the hive's agents are connected.")]
Agents = Annotated[int | None, typer.Option("--agents", help="Workers that the hive registers.", metavar="N")]
Model = Annotated[str | None, typer.Option("--model", help="The model, by its full name.", metavar="NAME")]
ModelScript = Annotated[
    Path | None,
    typer.Option("--model-script", help="Play this script instead of asking a model: no key, no bill.", metavar="FILE"),
]
ModelUrl = Annotated[
    str | None, typer.Option("--model-url", help="A compatible address instead of Anthropic's.", metavar="URL")
]
BudgetUsd = Annotated[
    str | None, typer.Option("--budget-usd", help="Stop before it costs more than this, in USD.", metavar="X")
]
MaxTurns = Annotated[int | None, typer.Option("--max-turns", help="Stop the agent after so many turns.", metavar="N")]
Timeout = Annotated[str | None, typer.Option("--timeout", help="Wall time, such as 30m or 90s.", metavar="TIME")]
ExpectOption = Annotated[
    Expect | None, typer.Option("--expect", help="The evidence without which the run ends as no_work.")
]
Verify = Annotated[
    str | None,
    typer.Option("--verify", help="Shell command that proves the result, run on a copy of it.", metavar="CMD"),
]
NetworkOption = Annotated[
    Network | None, typer.Option("--network", help="model: the gateway alone. open: everything. none: nothing.")
]
State = Annotated[
    Path | None,
    typer.Option("--state", help="claude-flow's state: taken from here, and handed out to here.", metavar="DIR"),
]
Mount = Annotated[
    list[str] | None,
    typer.Option("--mount", help="Path that the sandbox sees read-only. Repeatable.", metavar="PATH"),
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", help="NAME=VALUE for the sandbox; not for secrets. Repeatable.", metavar="NAME=VALUE"),
]
ClaudeFlowVersion = Annotated[
    str | None, typer.Option("--claude-flow", help="The pinned line: 3.43.0 or 2.7.47.", metavar="VERSION")
]
Apply = Annotated[
    bool, typer.Option("--apply", help="Write the changes to the source: all or nothing, and only on success.")
]
LedgerFile = Annotated[
    Path | None, typer.Option("--ledger", help="Append a JSON line for each request to this file.", metavar="FILE")
]
PatchFile = Annotated[Path | None, typer.Option("--patch", help="Write the patch to this file.", metavar="FILE")]
OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="json: one object on standard output. ndjson: events, then it.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the job and its plan, and run nothing.")]
AllowUnsandboxed = Annotated[
    bool,
    typer.Option("--allow-unsandboxed", help="Run with a real key even where no sandbox works. Dangerous."),
]
