"""What is accepted, refused and rewritten before anything runs."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claude_flow_dagger.commands import Kind, Line, catalogue, check, line_of
from claude_flow_dagger.errors import ClaudeFlowDaggerError, RefusedInput, UnknownCommand


def to_run(text: str, line: Line = Line.V3_43) -> tuple[str, ...]:
    return check(shlex.split(text), line).argv_to_run


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("memory get k --format json", "memory retrieve --format=json k"),
        ("memory list --limit -1", "memory list --limit=-1"),
        ("memory list --limit=5 -n team", "memory list --limit=5 --namespace=team"),
        ("session rm x", "session delete --format=json x"),
        ("hooks worker dispatch --trigger audit", "hooks worker dispatch --trigger=audit"),
        ("process monitor", "process monitor --format=json"),
        ("ruvector backup create --output o", "ruvector backup create --output=o --format=json"),
        ("route stats --format json", "route stats --json=true"),
        ("swarm init --no-auto-scale", "swarm init --auto-scale=false --format=json"),
        ("swarm init --auto-scale false", "swarm init --auto-scale=false --format=json"),
        ("swarm init --autoScale true", "swarm init --auto-scale=true --format=json"),
        ("memory store -k k -- -dash", "memory store --key=k -- -dash"),
        ("memory store -k k --value 007", "memory store --key=k 007"),
        ("memory store -k k --value=-x", "memory store --key=k -- -x"),
        ("memory search --help", "memory search --help"),
        ("route 'do it'", "route 'do it'"),
        ("init --minimal", "init --minimal=true"),
    ],
)
def test_rewrites_to_the_form_that_cannot_be_misread(given: str, wanted: str) -> None:
    assert to_run(given) == tuple(shlex.split(wanted))


@pytest.mark.parametrize(
    ("given", "names", "cure"),
    [
        ("frobnicate", "frobnicate", "memory"),
        ("memry list", "memry", "memory"),
        ("sparc run x", "sparc", "left after 2.7"),
        ("stream-chain run", "stream-chain", "only 2.7"),
        ("memory frobnicate", "frobnicate", "retrieve"),
        ("memory stor -k x", "stor", "store"),
        ("memory list --frmat json", "--frmat", "format"),
        ("memory list -Z", "-Z", "--namespace"),
        ("memory list --no-limit", "--no-limit", "limit"),
        ("hive init", "hive", "hive-mind"),
    ],
)
def test_what_this_line_does_not_have_is_named(given: str, names: str, cure: str) -> None:
    with pytest.raises(UnknownCommand) as refusal:
        check(shlex.split(given), Line.V3_43)
    assert names in refusal.value.message
    assert cure in (refusal.value.cure or "")


@pytest.mark.parametrize(
    ("given", "message", "cure"),
    [
        ("", "MCP server", "command"),
        ("--format json memory list", "before the command", "first"),
        ("memory", "subcommand", "store"),
        ("memory store -k k -v x", "--verbose", "--value"),
        ("memory store --value x", "cannot work", "--key"),
        ("memory store -k k", "cannot work", "--value"),
        ("memory retrieve", "cannot work", "--key"),
        ("agent spawn -t nobody", "'nobody'", "coder"),
        ("memory search", "--query is required", "--query"),
        ("memory search -q", "needs a value", "--query=VALUE"),
        ("memory list --limit many", "number", "5"),
        ("memory list --limit 1 --limit 2", "twice", "once"),
        ("memory list extra", "'extra' would be ignored", "memory list"),
        ("memory list -n5", "one letter each", "space"),
        ("hooks worker dispatch -t audit", "--teammate-id", "--trigger"),
        ("config set --key a --value 007", "another text", "prefix"),
        ("config set --key a --value TRUE", "another text", "prefix"),
        ("deployment deploy --version 2", "own version", "leave"),
        ("appliance update", "own version", "none"),
        ("mcp start", "would not end", "agent job"),
        ("mcp", "would not end", "agent job"),
        ("status --watch", "would not end", "--watch"),
        ("daemon start", "would not end", "daemon"),
        ("session delete", "cannot work", "id"),
        ("memory list --format yaml", "'yaml'", "json"),
        ("session export s --format yaml", "'yaml'", "json"),
        ("swarm init --auto-scale=5", "takes no value", "alone"),
        ("memory list -vk", "no option -k", "--namespace"),
        ("memory list -vn", "takes a value", "--namespace VALUE"),
        ("memory list 'a\0b'", "NUL", "leave"),
    ],
)
def test_what_upstream_would_misread_is_refused(given: str, message: str, cure: str) -> None:
    with pytest.raises(RefusedInput) as refusal:
        check(shlex.split(given), Line.V3_43)
    assert message in refusal.value.message
    assert cure in (refusal.value.cure or "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("doctor", "no command 'doctor'"),
        ("status -v", "version"),
        ("status --json --version", "version"),
        ("memory store a b -n x", "one letter each"),
        ("memory store a b --namespace=x", "does not split"),
        ("memory store a b --nope x", "--nope"),
        ("memory store a", "cannot work"),
        ("memory store a b --namespace --basic", "another option"),
        ("memory list --basic x --basic y", "twice"),
        ("mcp start", "would not end"),
        ("hive-mind spawn x", "would not end"),
    ],
)
def test_2_7_refuses_what_it_would_misread(given: str, message: str) -> None:
    with pytest.raises(RefusedInput, match=message):
        check(shlex.split(given), Line.V2_7)


def test_2_7_keeps_its_words_and_knows_what_needs_a_model() -> None:
    swarm = check(["swarm", "Greet in French", "--headless"], Line.V2_7)
    assert swarm.argv_to_run == ("swarm", "Greet in French", "--headless")
    assert swarm.needs_model
    assert check(["status", "--json"], Line.V2_7).wants_json
    assert check(["memory", "store", "k", "some words"], Line.V2_7).checks[0].argv[:3] == ("memory", "query", "k")
    basic = check(["memory", "store", "k", "v", "--namespace", "n", "--basic"], Line.V2_7)
    assert basic.checks[0].argv == ("memory", "query", "k", "--namespace", "n", "--basic")
    assert check(["hive-mind", "spawn", "-h"], Line.V2_7).argv_to_run == ("hive-mind", "spawn", "--help")


def test_memory_is_prepared_and_verified() -> None:
    store = check(["memory", "store", "-k", "k", "--value", "v", "--namespace", "n"], Line.V3_43)
    assert store.prepare == (("memory", "init"),)
    assert [each.argv for each in store.checks] == [("memory", "retrieve", "--namespace=n", "--format=json", "k")]
    for argv in (*store.prepare, *(each.argv for each in store.checks)):
        assert check(argv, Line.V3_43).argv_to_run == argv
    elsewhere = check(["memory", "store", "--key=-k", "--value", "v", "--path", "x.db"], Line.V3_43)
    assert elsewhere.prepare == (("memory", "init", "--path=x.db"),)
    wanted = ("memory", "retrieve", "--namespace=default", "--format=json", "--path=x.db")
    assert [each.argv for each in elsewhere.checks] == [(*wanted, "--", "-k")]


def test_only_a_claude_spawn_needs_a_model() -> None:
    assert not check(["hive-mind", "spawn", "-n", "2"], Line.V3_43).needs_model
    assert check(["hive-mind", "spawn", "-n", "2", "--claude", "-o", "x"], Line.V3_43).needs_model
    assert not check(["hive-mind", "spawn", "--claude", "--help"], Line.V3_43).needs_model


def test_json_is_wanted_only_when_it_was_asked_for() -> None:
    assert not check(["agent", "spawn", "-t", "coder"], Line.V3_43).wants_json
    assert check(["agent", "spawn", "-t", "coder", "--format", "json"], Line.V3_43).wants_json


@pytest.mark.parametrize(("version", "line"), [("3.43.0", Line.V3_43), ("v2.7.47", Line.V2_7), ("2.7", Line.V2_7)])
def test_the_line_of_a_release(version: str, line: Line) -> None:
    assert line_of(version) is line


@pytest.mark.parametrize("version", ["3.4.0", "3.430.1", "2.70.0", "", "latest"])
def test_a_release_of_no_line_is_refused(version: str) -> None:
    with pytest.raises(RefusedInput, match="no line"):
        line_of(version)


@pytest.mark.parametrize("line", list(Line))
def test_every_command_can_be_asked_for_its_help(line: Line) -> None:
    for command in catalogue(line).walk():
        if command.quirk.long_running is None or callable(command.quirk.long_running):
            assert check([*command.path, "--help"], line).argv_to_run == (*command.path, "--help")


@pytest.mark.parametrize("line", list(Line))
def test_every_quirk_belongs_to_a_command(line: Line) -> None:
    from claude_flow_dagger.catalogue import v2_7, v3_43

    quirks = {Line.V3_43: v3_43.QUIRKS, Line.V2_7: v2_7.QUIRKS}[line]
    missing = [name for name in quirks if catalogue(line).command(*name.split()) is None]
    assert missing == []


def test_what_is_passed_on_is_accepted_again_and_stays_the_same() -> None:
    for text in ("memory store -k k --value 007", "agent spawn -t coder", "process monitor", "hooks pre-task -d x"):
        once = to_run(text)
        assert check(once, Line.V3_43).argv_to_run == once


_names = sorted({word for line in Line for command in catalogue(line).walk() for word in command.path})
_options = sorted({option.name for command in catalogue(Line.V3_43).walk() for option in command.options})
_words = st.one_of(
    st.sampled_from(_names),
    st.sampled_from(_options).map(lambda name: f"--{name}"),
    st.sampled_from(_options).map(lambda name: f"--no-{name}"),
    st.tuples(st.sampled_from(_options), st.text(max_size=5)).map(lambda pair: f"--{pair[0]}={pair[1]}"),
    st.sampled_from(["--", "-", "-v", "-1.5", "-abc", "true", "false", "--format=json", "-h"]),
    st.text(max_size=8),
)


@settings(max_examples=300, deadline=None)
@given(words=st.lists(_words, max_size=8), line=st.sampled_from(list(Line)))
def test_any_words_are_accepted_or_refused_by_this_packages_errors(words: list[str], line: Line) -> None:
    try:
        invocation = check(words, line)
    except ClaudeFlowDaggerError:
        return
    assert invocation.argv_to_run[: len(invocation.path)] == invocation.path


@settings(max_examples=200, deadline=None)
@given(value=st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1))
def test_a_stored_value_stays_one_word_whatever_it_is(value: str) -> None:
    invocation = check(["memory", "store", "--key", "k", f"--value={value}"], Line.V3_43)
    assert invocation.argv_to_run[-1] == value


def test_kinds_that_take_a_value() -> None:
    assert [kind for kind in Kind if kind.takes_value] == [Kind.TEXT, Kind.NUMBER, Kind.LIST]
