"""The sentences of refused command lines, in one place so that they agree. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from claude_flow_dagger.catalogue.model import Command, Line
from claude_flow_dagger.errors import RefusedInput, UnknownCommand


def close(word: str, names: Iterable[str]) -> str | None:
    """`did you mean ...?` for the names near a word, or None when none is near."""
    matches = get_close_matches(word.lower(), sorted(set(names)), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(matches)}?" if matches else None


def unknown_command(word: str, line: Line, names: Iterable[str], elsewhere: str | None) -> UnknownCommand:
    """A first word that is no command of this line; `elsewhere` says where it is one."""
    known = sorted(names)
    return UnknownCommand(
        f"claude-flow {line} has no command {word!r}",
        cure=elsewhere or close(word, known) or f"its commands: {', '.join(known)}",
    )


def unknown_subcommand(word: str, command: Command, line: Line, elsewhere: str | None) -> UnknownCommand:
    """Upstream answers an unknown subcommand with help and exit status 0; here it is refused."""
    names = sorted(command.subcommands)
    return UnknownCommand(
        f"claude-flow {line}: {command.name} has no subcommand {word!r}",
        cure=elsewhere or close(word, names) or f"its subcommands: {', '.join(names)}",
    )


def unknown_option(word: str, command: Command, line: Line, names: Iterable[str]) -> UnknownCommand:
    """Upstream ignores an unknown option; here it is refused by name."""
    known = sorted(names)
    listed = ", ".join(f"--{name}" for name in known) or "none"
    return UnknownCommand(
        f"claude-flow {line}: {command.name} has no option {word}",
        cure=close(word.lstrip("-"), known) or f"its options: {listed}",
    )


def refused(command: Command, what: str, *, cure: str) -> RefusedInput:
    """A command line that upstream would misread or could not serve."""
    return RefusedInput(f"claude-flow {command.name}: {what}", cure=cure)
