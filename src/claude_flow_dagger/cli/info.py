"""`commands`, `schema`, `version`: what this program knows, without running anything."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from claude_flow_dagger import __version__
from claude_flow_dagger.cli.options import Output, OutputOption
from claude_flow_dagger.cli.tables import make_table, print_table
from claude_flow_dagger.commands import Command, catalogue, line_of
from claude_flow_dagger.errors import UnknownCommand
from claude_flow_dagger.job import DEFAULT_CLAUDE_FLOW, Pins
from claude_flow_dagger.jobfile import job_schema, render_schema, result_schema


class SchemaName(StrEnum):
    """What there is a JSON Schema of."""

    JOB = "job"
    RESULT = "result"
    MODEL_SCRIPT = "model-script"


def version(output: OutputOption = Output.TEXT) -> None:
    """Print this program's version and those that it pins."""
    pins = Pins()
    versions = {"claude-flow-dagger": __version__, "claude-flow": pins.claude_flow, "claude-code": pins.claude_code}
    if output is Output.TEXT:
        for name, value in versions.items():
            print(f"{name} {value}")
    else:
        print(json.dumps(versions))


def schema(
    name: Annotated[SchemaName, typer.Argument(help="Which schema.")] = SchemaName.JOB,
) -> None:
    """Print a JSON Schema: of job files, of results, of model scripts."""
    match name:
        case SchemaName.JOB:
            data = job_schema()
        case SchemaName.RESULT:
            data = result_schema()
        case SchemaName.MODEL_SCRIPT:
            from claude_flow_dagger.gateway.script.model import script_schema

            data = script_schema()
    print(render_schema(data), end="")


def commands(
    command: Annotated[list[str] | None, typer.Argument(help="One command, such as `memory store`.")] = None,
    claude_flow: Annotated[str, typer.Option(help="The pinned line.", metavar="VERSION")] = DEFAULT_CLAUDE_FLOW,
    output: OutputOption = Output.TEXT,
) -> None:
    """List claude-flow's commands with what was found out about each: how it answers, and how far to believe it."""
    found = catalogue(line_of(claude_flow))
    if command:
        one = found.command(*command)
        if one is None:
            raise UnknownCommand(
                f"claude-flow {claude_flow} has no command `{' '.join(command)}`",
                cure="`claude-flow-dagger commands` lists them",
            )
        shown = [one, *one.subcommands.values()]
    else:
        shown = list(found.walk())
    if output is Output.TEXT:
        _table(shown, detailed=bool(command))
    else:
        print(json.dumps([_as_dict(item) for item in shown]))


def _as_dict(command: Command) -> dict[str, object]:
    return {
        "command": command.name,
        "summary": command.summary,
        "answers": command.answers.value,
        "exit_status": command.trust.value,
        "options": [
            {
                "name": option.name,
                "summary": option.summary,
                "kind": option.kind.value,
                "short": option.short,
                "required": option.required,
                "default": option.default,
                "choices": list(option.choices),
            }
            for option in command.options
        ],
        "notes": list(command.quirk.notes),
    }


def _table(shown: list[Command], *, detailed: bool) -> None:
    table = make_table("command", "JSON", "exit status", "summary")
    for item in shown:
        table.add_row(Text(item.name), Text(item.answers.value), Text(item.trust.value), Text(item.summary))
    print_table(table)
    if detailed:
        console = Console(highlight=False, soft_wrap=True)
        for item in shown:
            for option in item.options:
                short = f"-{option.short}, " if option.short else "    "
                needed = " (required)" if option.required else ""
                console.print(Text(f"  {short}--{option.name}  {option.summary}{needed}"))
            for note in item.quirk.notes:
                console.print(Text(f"  note: {note}"))
