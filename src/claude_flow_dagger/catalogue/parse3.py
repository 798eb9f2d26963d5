"""Command lines of 3.x, read as its own parser reads them (`dist/src/parser.js`), refused where that surprises. Pure.

What is passed on is canonical: the path, then every option as `--name=value`, then the bare arguments. That form
cannot be misread: upstream scopes short options and booleans to the second level only, so `hooks worker dispatch -t x`
sets another command's option, and a boolean that it does not know swallows the next word (seen in `parser.js`,
`buildScopedAliases`, `getScopedBooleanFlags`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from claude_flow_dagger.catalogue.load import Catalogue
from claude_flow_dagger.catalogue.model import Command, Kind, Option, Parsed
from claude_flow_dagger.catalogue.refusals import refused, unknown_option
from claude_flow_dagger.errors import RefusedInput

_NEGATIVE: Final = re.compile(r"-\d*\.?\d+(?:[eE][+-]?\d+)?")
"""`isFlagValue` of upstream: a word with a dash is a value only if it is a number."""
_NUMBER: Final = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO][0-7]+|[+-]?Infinity"
)
_PLAIN_NUMBER: Final = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{0,10}[1-9])?")
"""Numbers that survive text -> number -> text unchanged."""
_NEGATIVE_ZERO: Final = "-0"


def camel(name: str) -> str:
    """`max-agents` -> `maxAgents`, as upstream compares option names."""
    return re.sub(r"-([a-z])", lambda match: match.group(1).upper(), name)


def becomes_another(value: str) -> bool:
    """Whether upstream's `parseValue` turns a text into something that no longer prints as that text."""
    text = value.strip()
    if text.lower() in ("true", "false"):
        return value not in ("true", "false")
    if not _NUMBER.fullmatch(text):
        return False
    return value == _NEGATIVE_ZERO or not _PLAIN_NUMBER.fullmatch(value)


def is_coerced(value: str) -> bool:
    """Whether upstream's `parseValue` hands the command a number or a boolean instead of this text."""
    text = value.strip()
    return text.lower() in ("true", "false") or _NUMBER.fullmatch(text) is not None


class _Options:
    """The options that a command takes, found as upstream finds them: its own before the global ones."""

    def __init__(self, catalogue: Catalogue, command: Command) -> None:
        self._command = command
        self._line = catalogue.line
        self._long: dict[str, Option] = {camel(option.name): option for option in catalogue.global_options}
        self._short: dict[str, Option] = {option.short: option for option in catalogue.global_options if option.short}
        for option in command.options:
            self._long[camel(option.name)] = option
            if option.short:
                self._short[option.short] = option

    def names(self) -> list[str]:
        return [option.name for option in self._long.values()]

    def long(self, name: str, word: str) -> Option:
        option = self._long.get(camel(name))
        if option is None or option.name.startswith("no-") != name.startswith("no-"):
            raise unknown_option(word, self._command, self._line, self.names())
        return option

    def negated(self, name: str) -> Option | None:
        """The flag that `--no-x` turns off, unless `no-x` is an option itself."""
        if camel(name) in self._long or not name.startswith("no-"):
            return None
        option = self._long.get(camel(name[3:]))
        return option if option is not None and option.kind is Kind.FLAG else None

    def short(self, letter: str, word: str) -> Option:
        for option in self._command.options:
            if option.broken_short and option.broken_short.startswith(f"-{letter} "):
                raise refused(
                    self._command,
                    f"{option.broken_short} by its own parser, not as --{option.name}",
                    cure=f"write --{option.name}",
                )
        option_ = self._short.get(letter)
        if option_ is None:
            raise unknown_option(word, self._command, self._line, self.names())
        return option_


def parse(catalogue: Catalogue, command: Command, words: Sequence[str]) -> Parsed:
    """The words after a command's path.

    Raises:
        UnknownCommand: an option that the command does not have.
        RefusedInput: a value that is missing, given twice, or that upstream would misread.
    """
    options = _Options(catalogue, command)
    given: dict[str, str | None] = {}
    positional: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            positional += rest
            break
        if word.startswith("--"):
            found = _long(options, command, word, rest)
        elif word.startswith("-") and word != "-":
            found = _short(options, command, word, rest)
        else:
            positional.append(word)
            continue
        for option, value in found:
            if option.name in given:
                raise refused(
                    command, f"--{option.name} is given twice, and only the last would count", cure="give it once"
                )
            given[option.name] = value
    if "version" in given:
        raise refused(
            command, "with --version it prints claude-flow's own version and does nothing", cure="leave --version out"
        )
    return Parsed(path=command.path, options=given, positional=tuple(positional), help="help" in given)


def _long(options: _Options, command: Command, word: str, rest: list[str]) -> list[tuple[Option, str | None]]:
    name, equals, value = word[2:].partition("=")
    if not equals and (off := options.negated(name)) is not None:
        return [(off, "false")]
    return [
        (
            option := options.long(name, f"--{name}"),
            _value(command, option, value if equals else None, rest, f"--{name}"),
        )
    ]


def _short(options: _Options, command: Command, word: str, rest: list[str]) -> list[tuple[Option, str | None]]:
    letters = word[1:]
    if len(letters) == 1:
        option = options.short(letters, word)
        if letters == "v" and option.name == "verbose" and rest and not rest[0].startswith("-"):
            raise refused(
                command, f"-v is --verbose and takes no value, so {rest[0]!r} would be lost", cure="write --value"
            )
        return [(option, _value(command, option, None, rest, word))]
    if not letters.isalpha():
        raise refused(
            command,
            f"{word} would be read as {len(letters)} flags of one letter each",
            cure="write a space between an option and its value, and put arguments that begin with a dash after --",
        )
    together = [options.short(letter, f"-{letter}") for letter in letters]
    with_value = next((option for option in together if option.kind is not Kind.FLAG), None)
    if with_value is not None:
        raise refused(command, f"{word}: --{with_value.name} takes a value", cure=f"write --{with_value.name} VALUE")
    return [(option, None) for option in together]


def _value(command: Command, option: Option, inline: str | None, rest: list[str], word: str) -> str | None:
    following = rest[0] if rest else None
    if option.kind is Kind.FLAG:
        value = inline
        if value is None and following is not None and following.lower() in ("true", "false"):
            value = rest.pop(0)
        if value is not None and value.lower() not in ("true", "false"):
            raise refused(command, f"{word} is a flag and takes no value", cure=f"write {word} alone")
        return None if value is None or value.lower() == "true" else "false"
    if inline is not None:
        return inline
    if following is not None and (not following.startswith("-") or _NEGATIVE.fullmatch(following)):
        return rest.pop(0)
    if option.kind is Kind.EITHER:
        return None
    raise refused(
        command, f"{word} needs a value", cure=f"a value that begins with a dash is written --{option.name}=VALUE"
    )


def canonical(command: Command, parsed: Parsed) -> tuple[str, ...]:
    """The one form of a command line that upstream cannot misread."""
    if parsed.help:
        return (*command.path, "--help")
    words = list(command.path)
    for name, value in parsed.options.items():
        option = command.option(name)
        if option is not None and option.negates:
            words.append(f"--{name}" if value is None else f"--{name[3:]}=true")
        else:
            words.append(f"--{name}={'true' if value is None else value}")
    if any(word.startswith("-") for word in parsed.positional):
        words.append("--")
    return (*words, *parsed.positional)


def validate(catalogue: Catalogue, command: Command, parsed: Parsed) -> Parsed:
    """Required options, choices, counts and values that upstream would change; the format that it needs is added.

    Raises:
        RefusedInput: names what is missing or wrong.
    """
    if any(option.name == "version" and option.default is not None for option in command.options):
        raise refused(
            command,
            "its --version has a default, so it always prints claude-flow's own version and does nothing",
            cure="there is none in this release",
        )
    parsed = _with_format(catalogue, command, parsed)
    for option in command.options:
        if option.required and parsed.options.get(option.name) in (None, ""):
            wanted = f" ({', '.join(option.choices)})" if option.choices else ""
            raise refused(
                command, f"--{option.name} is required", cure=f"add --{option.name} VALUE{wanted}: {option.summary}"
            )
    if command.positional >= 0 and len(parsed.positional) > command.positional:
        extra = parsed.positional[command.positional]
        most = "no argument" if command.positional == 0 else f"at most {command.positional}"
        raise refused(
            command, f"{extra!r} would be ignored: it takes {most}", cure=f"see its options: commands {command.name}"
        )
    _values(command, parsed.options)
    return parsed


def _values(command: Command, options: Mapping[str, str | None]) -> None:
    for name, value in options.items():
        option = command.option(name)
        if option is None or value is None:
            continue
        if option.kind is Kind.NUMBER and not _NUMBER.fullmatch(value.strip()):
            raise refused(command, f"--{name} is a number, not {value!r}", cure=f"write --{name} 5, for example")
        if option.choices and value not in option.choices:
            raise refused(command, f"--{name} cannot be {value!r}", cure=f"one of: {', '.join(option.choices)}")
        if option.kind in (Kind.TEXT, Kind.LIST) and becomes_another(value):
            raise refused(
                command,
                f"--{name} {value!r} would be turned into a number or a boolean and come out as another text",
                cure="give it a prefix that is no digit",
            )


def _with_format(catalogue: Catalogue, command: Command, parsed: Parsed) -> Parsed:
    # Upstream holds a command's own --format against the global choices too, applies the default of the second level
    # only, and ends with 1 when either does not fit: `process monitor` never works without --format json.
    both = next((option.choices for option in catalogue.global_options if option.name == "format"), ())
    own = command.option("format")
    allowed = [each for each in both if own is None or not own.choices or each in own.choices]
    value = parsed.options.get("format")
    if "format" in parsed.options:
        if value not in allowed:
            raise refused(command, f"--format cannot be {value!r}", cure=f"one of: {', '.join(allowed)}")
        return parsed
    default = own.default if own is not None and own.default and len(command.path) <= 2 else "text"
    if default in allowed:
        return parsed
    if not allowed:
        raise refused(command, "no value of its --format passes claude-flow's own check", cure="it cannot be used")
    return Parsed(
        path=parsed.path,
        options={**parsed.options, "format": allowed[0]},
        positional=parsed.positional,
        help=parsed.help,
    )


__all__ = ["RefusedInput", "becomes_another", "camel", "canonical", "is_coerced", "parse", "validate"]
