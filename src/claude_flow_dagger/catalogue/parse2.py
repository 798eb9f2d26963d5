"""Command lines of 2.7, as its own parser reads them (`src/cli/utils.js`, `parseFlags`). Pure.

Every `--name` takes the next word as its value unless that begins with `--`; a single dash makes flags of letters;
`--name=value` is one long name. The words are passed on as they are: what upstream would lose is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from claude_flow_dagger.catalogue.load import Catalogue
from claude_flow_dagger.catalogue.model import Command, Kind, Option, Parsed
from claude_flow_dagger.catalogue.refusals import refused, unknown_option


def parse(catalogue: Catalogue, command: Command, words: Sequence[str], owner: Command) -> Parsed:
    """The words after a command's path; `owner` is the top command, which has all its subcommands' options.

    Raises:
        UnknownCommand: an option that the command does not have.
        RefusedInput: a form that 2.7 would misread.
    """
    known: dict[str, Option] = {option.name: option for option in (*catalogue.global_options, *owner.options)}
    given: dict[str, str | None] = {}
    positional: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-v", "--version"):
            raise refused(
                command, f"{word} anywhere prints claude-flow's version and does nothing", cure="leave it out"
            )
        if not word.startswith("-") or word == "-":
            positional.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        if word == "-h":
            name = "help"
        elif word == "--" or not word.startswith("--"):
            raise refused(
                command, f"2.7 reads {word} as flags of one letter each", cure="use long options: --name value"
            )
        elif name not in known:
            raise unknown_option(f"--{name}", command, catalogue.line, known)
        elif equals:
            raise refused(command, f"2.7 does not split --{name}=...", cure=f"write --{name} {value}")
        if name in given:
            raise refused(command, f"--{name} is given twice, and only the last would count", cure="give it once")
        given[name] = rest.pop(0) if rest and not rest[0].startswith("--") else None
        if given[name] in ("-v", "--version"):
            raise refused(command, f"{given[name]} anywhere prints claude-flow's version", cure="leave it out")
        if given[name] is None and known[name].kind is Kind.TEXT and rest:
            raise refused(command, f"--{name} is followed by another option", cure=f"write --{name} VALUE")
    return Parsed(path=command.path, options=given, positional=tuple(positional), help="help" in given)


def canonical(command: Command, words: Sequence[str], parsed: Parsed) -> tuple[str, ...]:
    """The words as given; help alone, since a word after `--help` would be its value."""
    return (*command.path, "--help") if parsed.help else (*command.path, *words)
