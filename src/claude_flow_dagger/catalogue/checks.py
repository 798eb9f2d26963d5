"""What must be true after a command, as pure predicates on the answer of a second process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from claude_flow_dagger.catalogue.answers import json_in
from claude_flow_dagger.catalogue.model import Check, CheckReply, Parsed, Reply


def _field(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None


def _document(check: CheckReply) -> Any:
    """A check always asks for JSON, whatever the command itself was asked for."""
    return json_in(check.reply.text) if check.reply.data is None else check.reply.data


def _where(parsed: Parsed) -> tuple[str, ...]:
    """The store that a memory command was pointed at, for the command that reads it back."""
    return tuple(f"--path={path}" for path in (parsed.options.get("path"),) if path is not None)


def memory_retrieve(parsed: Parsed, key: str) -> tuple[str, ...]:
    """The argv that reads a memory entry back; the key is a bare argument, since options are coerced to numbers."""
    namespace = parsed.options.get("namespace") or "default"
    argv = ("memory", "retrieve", f"--namespace={namespace}", "--format=json", *_where(parsed))
    return (*argv, "--", key) if key.startswith("-") else (*argv, key)


def stored(parsed: Parsed) -> tuple[Check, ...]:
    """`memory store`: the value is read back, byte for byte."""
    key = parsed.options.get("key")
    value = parsed.value("value") or next(iter(parsed.positional), None)
    if key is None or value is None:
        return ()

    def holds(_: Reply, check: CheckReply) -> str | None:
        content = _field(_document(check), "content")
        if check.exit_code != 0 or content is None:
            return f"memory {key!r} cannot be read back: it was not kept"
        return (
            None if content == value else f"memory {key!r} holds {str(content)[:80]!r} and not the value that was given"
        )

    return (Check(argv=memory_retrieve(parsed, key), holds=holds),)


def deleted(parsed: Parsed) -> tuple[Check, ...]:
    """`memory delete`: the entry cannot be retrieved any more."""
    key = parsed.value("key") or next(iter(parsed.positional), None)
    if key is None:
        return ()

    def holds(_: Reply, check: CheckReply) -> str | None:
        gone = check.exit_code != 0 and "not found" in (check.reply.text + check.reply.errors).lower()
        return None if gone else f"memory {key!r} is still there"

    return (Check(argv=memory_retrieve(parsed, key), holds=holds),)


def initialised(parsed: Parsed) -> tuple[Check, ...]:
    """`memory init`: the store answers a listing."""

    def holds(_: Reply, check: CheckReply) -> str | None:
        return None if check.exit_code == 0 else "the memory cannot be listed after its initialisation"

    return (Check(argv=("memory", "list", "--format=json", *_where(parsed)), holds=holds),)


def listed(
    argv: tuple[str, ...], collection: str, key: str, *, gone: bool = False
) -> Callable[[Parsed], tuple[Check, ...]]:
    """The id that the command's own answer names is in a list of another process, or is not when it should be gone."""

    def holds(reply: Reply, check: CheckReply) -> str | None:
        wanted = _field(reply.data, key)
        if wanted is None:
            return f"its answer names no {key}"
        items = _field(_document(check), collection)
        if not isinstance(items, list):
            return f"{' '.join(argv)} gave no list of {collection}"
        there = wanted in _ids(items, key)
        if there == gone:
            return f"{wanted} is {'still' if gone else 'not'} in {' '.join(argv[:2])}"
        return None

    return lambda _: (Check(argv=argv, holds=holds),)


def _ids(items: Iterable[Any], key: str) -> set[Any]:
    return {_field(item, key) for item in items}


def hive_is_up(_: Parsed) -> tuple[Check, ...]:
    """`hive-mind init`: the status of another process is not `offline`."""

    def holds(_: Reply, check: CheckReply) -> str | None:
        status = _field(_document(check), "status")
        return None if status not in (None, "offline") else f"the hive's status is {status or 'unknown'}"

    return (Check(argv=("hive-mind", "status", "--format=json"), holds=holds),)


def swarm_is_there(_: Parsed) -> tuple[Check, ...]:
    """`swarm init`: the status of another process names the same swarm."""

    def holds(reply: Reply, check: CheckReply) -> str | None:
        wanted, seen = _field(reply.data, "swarmId"), _field(_document(check), "id")
        return None if wanted is not None and wanted == seen else f"swarm status names {seen} and not {wanted}"

    return (Check(argv=("swarm", "status", "--format=json"), holds=holds),)


def configured(parsed: Parsed) -> tuple[Check, ...]:
    """`config set`: the value is read back."""
    key, value = parsed.options.get("key"), parsed.options.get("value")
    if key is None or value is None:
        return ()

    def holds(_: Reply, check: CheckReply) -> str | None:
        seen = _field(_document(check), "value")
        shown = str(seen).lower() if isinstance(seen, bool) else str(seen)
        return None if check.exit_code == 0 and shown == value else f"config {key} was not kept as given"

    return (Check(argv=("config", "get", f"--key={key}", "--format=json"), holds=holds),)


def written(_: Parsed) -> tuple[Check, ...]:
    """`init`: upstream itself finds the workspace initialised."""

    def holds(_: Reply, check: CheckReply) -> str | None:
        ready = "is initialized" in check.reply.text
        return None if check.exit_code == 0 and ready else "init check does not find the workspace initialised"

    return (Check(argv=("init", "check"), holds=holds),)
