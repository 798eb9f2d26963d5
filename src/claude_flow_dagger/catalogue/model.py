"""The words of the catalogue: lines, commands, options, what a command answers and how far it is believed. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal


class Line(StrEnum):
    """A line of claude-flow releases that share their commands."""

    V3_43 = "3.43"
    V2_7 = "2.7"


class Answers(StrEnum):
    """What a command prints when it is asked for JSON, measured."""

    CLEAN = "clean"
    """Standard output is one JSON document."""
    AFTER_LOG = "after_log"
    """A JSON document follows log lines: cut to the first line that starts one."""
    TEXT = "text"
    """It ignores the question and prints text, or it cannot be asked."""


class ExitTrust(StrEnum):
    """What an exit status says."""

    BOTH = "both"
    """0 when it did its work, something else when it did not."""
    ZERO_LIES = "zero_lies"
    """0 also when nothing was done: the answer, or a check, decides."""
    NONZERO_IS_FINDING = "nonzero_is_finding"
    """1 also when it did its work and found something (a vulnerability, a missing tool)."""


class Kind(StrEnum):
    """What an option takes."""

    FLAG = "flag"
    TEXT = "text"
    NUMBER = "number"
    LIST = "list"
    """Upstream keeps the last one only when it is repeated: separate by commas."""
    EITHER = "either"
    """Upstream reads it without declaring it: a value, or nothing for true."""

    @property
    def takes_value(self) -> bool:
        """Whether a value must follow."""
        return self in (Kind.TEXT, Kind.NUMBER, Kind.LIST)


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a command.

    Args:
        name: the long name without dashes; `no-x` where upstream names it so.
        short: one letter, where it works; a short that upstream's parser gives to another option is not here.
        broken_short: what the documented letter really means upstream, such as `-t is read as --teammate-id`.
        negates: upstream looks for `x` being false, so `no-x` is passed on as `--no-x`.
    """

    name: str
    summary: str
    kind: Kind
    short: str | None = None
    broken_short: str | None = None
    default: str | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    negates: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a command answered: its JSON if there was any, its standard output and its standard error as printed."""

    data: Any | None
    text: str
    errors: str = ""


@dataclass(frozen=True, kw_only=True)
class CheckReply:
    """A check's own process: its exit status and answer."""

    exit_code: int
    reply: Reply


Predicate = Callable[[Reply, CheckReply], str | None]
"""(the command's reply, the check's) -> why the work is not there, or None when it is."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A command to run afterwards, in a process of its own, and what its answer must show.

    Args:
        argv: for claude-flow, without its name.
        holds: returns the reason when the evidence is missing, None when it is there. Pure.
    """

    argv: tuple[str, ...]
    holds: Predicate = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """An argv as the line's own parser will understand it.

    Args:
        path: the command and its subcommands, aliases resolved.
        options: by long name; None for a flag without a value.
        positional: what is left.
    """

    path: tuple[str, ...]
    options: Mapping[str, str | None]
    positional: tuple[str, ...] = ()
    help: bool = False

    def value(self, *names: str) -> str | None:
        """The first given option's value among `names`."""
        return next((self.options[name] for name in names if name in self.options), None)


@dataclass(frozen=True, kw_only=True)
class Quirk:
    """What running a command taught us beyond its declared options. Written by hand in `v3_43.py` and `v2_7.py`.

    Args:
        trust: how far the exit status is believed; None: measured, or `BOTH`.
        answers: overrides the measured answer.
        ask_json: the arguments that ask for JSON; None: the line's own way.
        needs_model: it starts Claude Code or calls a model. A predicate where that depends on the options.
        long_running: why it does not end, with the cure; `exec` refuses it. A predicate likewise.
        refuse: why the request cannot work, or None.
        prepare: argvs that must have run before in the same workspace; all are idempotent.
        checks: what to run afterwards.
        rewrite: the same request in a form that upstream understands.
        judge_by_json: its text claims success and only its JSON tells the truth, so it is always asked for JSON.
        also_arguments: it has subcommands and takes arguments of its own as well.
        notes: side effects and lies worth knowing, for people.
    """

    trust: ExitTrust | None = None
    answers: Answers | None = None
    ask_json: tuple[str, ...] | None = None
    needs_model: Callable[[Parsed], bool] | bool = False
    long_running: Callable[[Parsed], str | None] | str | None = None
    refuse: Callable[[Parsed], str | None] | None = None
    prepare: Callable[[Parsed], tuple[tuple[str, ...], ...]] | None = None
    checks: Callable[[Parsed], tuple[Check, ...]] | None = None
    rewrite: Callable[[Parsed], Parsed] | None = None
    judge_by_json: bool = False
    also_arguments: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command or subcommand.

    Args:
        path: from the top, such as `("memory", "store")`.
        positional: how many bare arguments it reads; -1 for any number.
        works: it does something itself; False: it only groups its subcommands and prints help.
        ask_json: what asks this command for JSON where it is not the line's own way (`--format json`).
        measured: whether `answers` comes from a run.
        usual_trust: the line's, for commands without a quirk of their own.
    """

    path: tuple[str, ...]
    summary: str
    options: tuple[Option, ...] = ()
    aliases: tuple[str, ...] = ()
    subcommands: Mapping[str, Command] = field(default_factory=dict)
    positional: int = 0
    works: bool = True
    asks: bool = False
    examples: tuple[str, ...] = ()
    answers: Answers = Answers.TEXT
    ask_json: tuple[str, ...] = ()
    measured: bool = False
    quirk: Quirk = Quirk()
    usual_trust: ExitTrust = ExitTrust.BOTH

    @property
    def name(self) -> str:
        """The path as it is typed."""
        return " ".join(self.path)

    @property
    def trust(self) -> ExitTrust:
        """How far its exit status is believed."""
        return self.quirk.trust or self.usual_trust

    def option(self, name: str) -> Option | None:
        """The option with this long name."""
        return next((option for option in self.options if option.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """A checked command line: what runs, before and after, and how its answer is read.

    Args:
        argv: as it was given.
        argv_to_run: the same in the one form that upstream cannot misread.
        prepare: argvs to run before it, in the same workspace; idempotent, their failure is its failure.
        checks: to run afterwards, each in a process of its own.
    """

    line: Line
    command: Command
    parsed: Parsed
    argv: tuple[str, ...]
    argv_to_run: tuple[str, ...]
    wants_json: bool
    answers: Answers
    exit_trust: ExitTrust
    needs_model: bool
    prepare: tuple[tuple[str, ...], ...] = ()
    checks: tuple[Check, ...] = ()

    @property
    def path(self) -> tuple[str, ...]:
        """The command and its subcommands, aliases resolved."""
        return self.command.path


class FindingCode(StrEnum):
    """Why a command counts as done or not; stable, for results."""

    DONE = "done"
    FINDINGS = "findings"
    EXIT_STATUS = "exit_status"
    SAID_ERROR = "said_error"
    PRINTED_HELP = "printed_help"
    NO_JSON = "no_json"
    CHECK_FAILED = "check_failed"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Whether the work was really done, and how that is known."""

    done: bool
    code: FindingCode
    reason: str


OutputFormat = Literal["text", "json", "table"]
