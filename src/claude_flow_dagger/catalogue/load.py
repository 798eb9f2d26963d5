"""The catalogue as data: JSON made by `scripts/make-catalogue`, joined with what was measured and written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from claude_flow_dagger.catalogue.model import Answers, Command, ExitTrust, Kind, Line, Option, Quirk

_KINDS: Final = {
    "boolean": Kind.FLAG,
    "string": Kind.TEXT,
    "number": Kind.NUMBER,
    "array": Kind.LIST,
    "either": Kind.EITHER,
}
_NO_QUIRK: Final = Quirk()


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Every command of a line.

    Args:
        version: the release that it was read from.
        global_options: taken by every command.
        commands: the top level, by name; aliases are not keys.
    """

    line: Line
    version: str
    global_options: tuple[Option, ...]
    commands: Mapping[str, Command]

    def walk(self) -> Iterator[Command]:
        """Every command and subcommand, parents first, in the order of their names."""

        def below(command: Command) -> Iterator[Command]:
            yield command
            for name in sorted(command.subcommands):
                yield from below(command.subcommands[name])

        for name in sorted(self.commands):
            yield from below(self.commands[name])

    def command(self, *path: str) -> Command | None:
        """The command at a path of names (not aliases), such as `command("memory", "store")`."""
        found: Command | None = None
        names: Mapping[str, Command] = self.commands
        for name in path:
            found = names.get(name)
            if found is None:
                return None
            names = found.subcommands
        return found


def _option(data: Mapping[str, Any]) -> Option:
    default = data.get("default")
    return Option(
        name=data["name"],
        summary=data["summary"],
        kind=_KINDS[data["type"]],
        short=data.get("short"),
        broken_short=data.get("broken_short"),
        default=None if default is None else default if isinstance(default, str) else json.dumps(default),
        choices=tuple(str(choice) for choice in data.get("choices", ())),
        required=data.get("required", False),
        negates=data.get("negates", False),
    )


def _command(
    path: tuple[str, ...],
    data: Mapping[str, Any],
    measured: Mapping[str, str],
    quirks: Mapping[str, Quirk],
    usual_trust: ExitTrust,
) -> Command:
    options = [_option(each) for each in data.get("options", ())]
    options += [
        Option(name=name, summary="Read, but not declared.", kind=Kind.EITHER) for name in data.get("undeclared", ())
    ]
    key = " ".join(path)
    seen, _, asked_by = measured.get(key, "").partition(" ")
    quirk = quirks.get(key, _NO_QUIRK)
    groups = bool(data.get("subcommands")) and seen == "help"
    return Command(
        path=path,
        summary=data["summary"],
        options=tuple(options),
        aliases=tuple(data.get("aliases", ())),
        subcommands={
            name: _command((*path, name), sub, measured, quirks, usual_trust)
            for name, sub in data.get("subcommands", {}).items()
        },
        positional=data.get("positional", 0),
        works=not data.get("group", False) and not groups,
        asks=data.get("asks", False),
        examples=tuple(data.get("examples", ())),
        answers=quirk.answers or (Answers(seen) if seen in set(Answers) else Answers.TEXT),
        ask_json=quirk.ask_json or ((asked_by,) if asked_by else ()),
        measured=bool(seen),
        quirk=quirk,
        usual_trust=usual_trust,
    )


def _quirks(line: Line) -> Mapping[str, Quirk]:
    if line is Line.V3_43:
        from claude_flow_dagger.catalogue.v3_43 import QUIRKS

        return QUIRKS
    from claude_flow_dagger.catalogue.v2_7 import QUIRKS as QUIRKS_2

    return QUIRKS_2


@cache
def catalogue(line: Line) -> Catalogue:
    """The catalogue of a line, read once.

    Args:
        line: which.

    Returns:
        Every command with its options, how it answers and what is known about it.
    """
    here = files("claude_flow_dagger.catalogue")
    data = json.loads(here.joinpath(f"{line}.json").read_text("utf-8"))
    measured = json.loads(here.joinpath(f"{line}.measured.json").read_text("utf-8"))
    quirks = _quirks(line)
    # 2.7 catches its own errors and ends with 0 in nearly every command that was run.
    usual_trust = ExitTrust.ZERO_LIES if line is Line.V2_7 else ExitTrust.BOTH
    if line is Line.V2_7:
        from claude_flow_dagger.catalogue.v2_7 import EXTRA_SUBCOMMANDS

        for name, subcommands in EXTRA_SUBCOMMANDS.items():
            data["commands"][name]["subcommands"] |= {sub: {"summary": "", "positional": -1} for sub in subcommands}
    return Catalogue(
        line=line,
        version=data["version"],
        global_options=tuple(_option(each) for each in data["globals"]),
        commands={
            name: _command((name,), each, measured, quirks, usual_trust) for name, each in data["commands"].items()
        },
    )
