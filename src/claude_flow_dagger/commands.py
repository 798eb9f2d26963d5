"""claude-flow's commands, by release line: what may be asked, how it is asked, and whether the answer is true. Pure.

    invocation = check(["memory", "search", "-q", "x", "--format", "json"], Line.V3_43)
    # run invocation.prepare, then invocation.argv_to_run, then every check of invocation.checks by its own process
    reply = read_answer(invocation, stdout, stderr, exit_code)
    finding = believe(invocation, exit_code, reply, check_replies)

Everything that offers commands (CLI, Dagger functions, REST, docs) is driven by this; what is wrong upstream is
corrected here, once. The data are made by `scripts/make-catalogue` from the packages themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from claude_flow_dagger.catalogue import parse2, parse3
from claude_flow_dagger.catalogue.believe import believe, read_answer
from claude_flow_dagger.catalogue.load import Catalogue, catalogue
from claude_flow_dagger.catalogue.model import (
    Answers,
    Check,
    CheckReply,
    Command,
    ExitTrust,
    Finding,
    FindingCode,
    Invocation,
    Kind,
    Line,
    Option,
    Parsed,
    Reply,
)
from claude_flow_dagger.catalogue.refusals import refused, unknown_command, unknown_subcommand
from claude_flow_dagger.errors import RefusedInput

__all__ = [
    "Answers",
    "Catalogue",
    "Check",
    "CheckReply",
    "Command",
    "ExitTrust",
    "Finding",
    "FindingCode",
    "Invocation",
    "Kind",
    "Line",
    "Option",
    "Parsed",
    "Reply",
    "believe",
    "catalogue",
    "check",
    "line_of",
    "read_answer",
]

_INSTEAD: Final[Mapping[str, str]] = {
    "sparc": "an agent job with roles",
    "github": "an agent job with network `open`",
    "automation": "`workflow`",
    "hive": "`hive-mind`",
    "batch": "`workflow`",
    "tdd": "an agent job whose --verify runs the tests",
    "training": "`neural train`",
    "coordination": "`swarm`",
    "analysis": "`analyze` or `performance`",
    "monitoring": "`performance metrics`",
    "monitor": "`performance metrics`",
    "optimization": "`performance optimize`",
    "truth": "`verify`",
}
"""What does in 3.43 the work of commands that left after 2.7."""


def line_of(version: str) -> Line:
    """The line of a claude-flow release.

    Args:
        version: such as `3.43.0` or `2.7.47`, with or without a leading `v`.

    Raises:
        RefusedInput: a release of another line.
    """
    bare = version.removeprefix("v")
    for line in Line:
        if bare == line.value or bare.startswith(f"{line.value}."):
            return line
    raise RefusedInput(
        f"claude-flow {version!r} is of no line that has a catalogue",
        cure=f"the lines are: {', '.join(line.value for line in Line)}",
    )


def check(argv: Sequence[str], line: Line) -> Invocation:
    """A claude-flow command line, looked up, read as upstream's own parser reads it, and made safe to run.

    Args:
        argv: what follows `claude-flow`, such as `["memory", "search", "-q", "x"]`.
        line: the release line that will run it.

    Returns:
        What to run before, itself and afterwards, and how far to believe it.

    Raises:
        UnknownCommand: a command, subcommand or option that this line does not have; the cure names near ones.
        RefusedInput: something is missing, would be misread, or would not end.
    """
    book = catalogue(line)
    words = tuple(argv)
    _check_words(words)
    command, rest, owner = _find(book, words)
    old = line is Line.V2_7
    parsed = parse2.parse(book, command, rest, owner) if old else parse3.parse(book, command, rest)
    if not parsed.help:
        parsed = _prepared(book, command, parsed)
    quirk = command.quirk
    checks = () if parsed.help or quirk.checks is None else quirk.checks(parsed)
    return Invocation(
        line=line,
        command=command,
        parsed=parsed,
        argv=words,
        argv_to_run=parse2.canonical(command, rest, parsed) if old else parse3.canonical(command, parsed),
        wants_json=_wants_json(words, parsed),
        answers=command.answers,
        exit_trust=command.trust,
        needs_model=not parsed.help
        and (quirk.needs_model(parsed) if callable(quirk.needs_model) else quirk.needs_model),
        prepare=() if parsed.help or quirk.prepare is None else quirk.prepare(parsed),
        checks=checks,
    )


def _check_words(words: tuple[str, ...]) -> None:
    if not words:
        raise RefusedInput(
            "no claude-flow command: without one it would become an MCP server",
            cure="name a command, such as `memory list`; `commands` lists them",
        )
    if any("\0" in word for word in words):
        raise RefusedInput("a NUL character cannot be handed to a process", cure="leave it out")
    if words[0].startswith("-"):
        raise RefusedInput(
            f"{words[0]!r} stands before the command", cure="put the command first and its options after it"
        )


def _find(book: Catalogue, words: tuple[str, ...]) -> tuple[Command, tuple[str, ...], Command]:
    owner = _named(book.commands, words[0])
    if owner is None:
        names = [name for command in book.commands.values() for name in (command.path[0], *command.aliases)]
        raise unknown_command(words[0], book.line, names, _elsewhere(book.line, words[:1]))
    command, at = owner, 1
    while at < len(words) and (deeper := _named(command.subcommands, words[at])) is not None:
        command, at = deeper, at + 1
    rest = words[at:]
    bare = bool(rest) and not rest[0].startswith("-")
    if command.subcommands and bare and not command.quirk.also_arguments:
        raise unknown_subcommand(rest[0], command, book.line, _elsewhere(book.line, words[: at + 1]))
    helped = any(word in ("--help", "-h") for word in rest)
    if not command.works and not helped and not (bare and command.quirk.also_arguments):
        raise refused(
            command, "it needs a subcommand", cure=f"its subcommands: {', '.join(sorted(command.subcommands))}"
        )
    return command, rest, owner


def _named(commands: Mapping[str, Command], word: str) -> Command | None:
    return commands.get(word) or next((each for each in commands.values() if word in each.aliases), None)


def _elsewhere(line: Line, path: tuple[str, ...]) -> str | None:
    """Where another line has it, and what replaces it here."""
    other = Line.V2_7 if line is Line.V3_43 else Line.V3_43
    instead = _INSTEAD.get(path[0]) if line is Line.V3_43 and len(path) == 1 else None
    there = catalogue(other).command(*path) is not None
    if instead is not None:
        return f"it left after {Line.V2_7}: use {instead} instead" if there else f"use {instead} instead"
    if not there:
        return None
    return f"only {other} has it: pin claude-flow to that line"


def _prepared(book: Catalogue, command: Command, parsed: Parsed) -> Parsed:
    quirk = command.quirk
    endless = quirk.long_running(parsed) if callable(quirk.long_running) else quirk.long_running
    if endless is not None:
        raise refused(command, "it would not end by itself", cure=endless)
    if quirk.rewrite is not None:
        parsed = quirk.rewrite(parsed)
    impossible = None if quirk.refuse is None else quirk.refuse(parsed)
    if impossible is not None:
        raise refused(command, "it cannot work like this", cure=impossible)
    if book.line is Line.V2_7:
        return parsed
    if command.ask_json == ("--json",) and parsed.options.get("format") == "json" and "json" not in parsed.options:
        # `--format json` is ignored by these; their own `--json` is not (measured).
        others = {name: value for name, value in parsed.options.items() if name != "format"}
        parsed = Parsed(path=parsed.path, options={**others, "json": None}, positional=parsed.positional)
    parsed = parse3.validate(book, command, parsed)
    if quirk.judge_by_json:
        parsed = Parsed(path=parsed.path, options={**parsed.options, "format": "json"}, positional=parsed.positional)
    return parsed


def _wants_json(words: tuple[str, ...], parsed: Parsed) -> bool:
    asked = parsed.options.get("format") == "json" or ("json" in parsed.options and parsed.options["json"] != "false")
    # A format that was added here (to judge by, or because no other works) is not the caller's wish.
    return asked and any("json" in word for word in words)
