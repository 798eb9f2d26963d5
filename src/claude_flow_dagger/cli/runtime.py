"""`runtime install|show|prune`: Node, claude-flow and Claude Code in the user's cache."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.text import Text

from claude_flow_dagger.cli.container import sweep_daemon
from claude_flow_dagger.cli.install import ensure_runtime
from claude_flow_dagger.cli.options import Output, OutputOption
from claude_flow_dagger.cli.show import make_view
from claude_flow_dagger.cli.tables import make_table, print_table
from claude_flow_dagger.config import take_settings
from claude_flow_dagger.errors import InvalidJob, SandboxError
from claude_flow_dagger.execution.scratch import remove_leftovers
from claude_flow_dagger.job import DEFAULT_CLAUDE_FLOW, Pins
from claude_flow_dagger.runtime.install import prune as prune_trees
from claude_flow_dagger.runtime.install import show as show_trees
from claude_flow_dagger.runtime.install import verify as verify_trees

runtime = typer.Typer(
    help="The pinned Node, claude-flow and Claude Code in your cache directory.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Version = Annotated[str, typer.Option("--claude-flow", help="3.43.0 or 2.7.47.", metavar="VERSION")]


def parse_pins(version: str) -> Pins:
    """The pins of a claude-flow version.

    Raises:
        InvalidJob: it is not one that this package has a lock for.
    """
    versions = Pins.model_json_schema()["properties"]["claude_flow"]["enum"]
    if version not in versions:
        raise InvalidJob(f"--claude-flow {version}: there is no lock for it", cure=f"one of {', '.join(versions)}")
    return Pins(claude_flow=cast("Any", version))


@runtime.command("install")
def install(
    claude_flow: Version = DEFAULT_CLAUDE_FLOW,
    claude: Annotated[bool, typer.Option("--claude/--no-claude", help="Claude Code too; agents need it.")] = True,
    output: OutputOption = Output.TEXT,
) -> None:
    """Install the pinned versions, or check what is there. Runs do it by themselves; an image may want it early.

    2.7.47 needs a compiler: cc, make and python3.
    """
    settings = take_settings()
    pins = parse_pins(claude_flow)
    with make_view(output) as view:
        found = ensure_runtime(settings, pins, with_claude=claude, view=view)
        view.progress("checking every file")
        verify_trees(found)
    if output is Output.TEXT:
        for name, version in found.versions.items():
            print(f"{name} {version}")
    else:
        print(json.dumps({"versions": dict(found.versions), "trees": [str(tree) for tree in found.trees]}))


@runtime.command("show")
def show(output: OutputOption = Output.TEXT) -> None:
    """List what is installed, with its size and checksum."""
    trees = show_trees(take_settings().cache)
    if output is not Output.TEXT:
        rows = [
            {
                "path": str(tree.path),
                "title": tree.title,
                "bytes": tree.size,
                "sha256": tree.sha256,
                "whole": tree.whole,
                "in_use": tree.in_use,
            }
            for tree in trees
        ]
        print(json.dumps(rows))
        return
    table = make_table("what", "MB", "state", "sha256", "where")
    for tree in trees:
        state = ("in use" if tree.in_use else "installed") if tree.whole else "damaged"
        size, digest = Text(str(tree.size // 10**6)), Text((tree.sha256 or "")[:16])
        table.add_row(Text(tree.title), size, Text(state), digest, Text(str(tree.path)))
    print_table(table)


@runtime.command("prune")
def prune(
    everything: Annotated[bool, typer.Option("--all", help="Also the versions that are pinned now.")] = False,
    output: OutputOption = Output.TEXT,
) -> None:
    """Remove versions that are not pinned any more, and what killed runs and installs left. What is in use stays.

    Containers and volumes of killed runs go too, where a daemon answers; images have `image prune`.
    """
    settings = take_settings()
    removed: list[Path | str] = [
        *prune_trees(settings.cache, None if everything else Pins()),
        *remove_leftovers(settings.cache),
    ]
    try:
        removed += sweep_daemon(settings)
    except SandboxError as problem:
        print(f"containers were not looked at: {problem.message}", file=sys.stderr)
    if output is Output.TEXT:
        for path in removed:
            print(f"removed {path}")
        print(f"{len(removed)} removed")
    else:
        print(json.dumps({"removed": [str(path) for path in removed]}))
