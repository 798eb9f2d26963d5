"""YAML and JSON files whose mistakes are reported by file, line, column and field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from claude_flow_dagger.errors import RefusedInput

MAX_BYTES: Final = 16 << 20
MAX_DEPTH: Final = 100
_CURE: Final = "mind the indentation, and quote texts with a colon, a brace or a hash in them"
MAX_VALUES: Final = 1_000_000


@dataclass(frozen=True)
class Document:
    """A parsed file that remembers where its parts stood.

    Args:
        name: the file's name as the user wrote it.
        data: its content, in plain dicts, lists and scalars.
        root: the YAML node tree, for positions; None for an empty file.
    """

    name: str
    data: Any
    root: yaml.Node | None

    def position(self, path: Sequence[str | int]) -> str:
        """`name:line:column` of the deepest part of `path` that the file has; both count from 1."""
        node, mark = self.root, self.root.start_mark if self.root is not None else None
        for key in path:
            if isinstance(node, yaml.MappingNode):
                found = next(((k, v) for k, v in node.value if k.value == str(key)), None)
                if found is None:
                    continue
                mark, node = found[0].start_mark, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                node = node.value[key]
                mark = node.start_mark
        return f"{self.name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else self.name


def read_document(path: Path, error: type[RefusedInput]) -> Document:
    """Read a YAML file; JSON is YAML too.

    Args:
        path: the file.
        error: what to raise.

    Raises:
        RefusedInput: of the given class: missing, unreadable, too large, not UTF-8, or not YAML (line and column).
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise error(f"{path}: no such file", cure="check the path; it is relative to where you are") from None
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}", cure="check the path and its mode") from problem
    if len(raw) > MAX_BYTES:
        raise error(f"{path}: is over {MAX_BYTES >> 20} MiB", cure="split it")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise error(f"{path}: is not UTF-8 at byte {problem.start}", cure="save it as UTF-8") from None
    return parse_document(text, str(path), error)


def parse_document(text: str, name: str, error: type[RefusedInput]) -> Document:
    """Parse YAML text; see `read_document`."""
    try:
        _check_depth(text)
        root = yaml.compose(text, Loader=yaml.CSafeLoader)
        if root is not None:
            _weigh(root, {}, set())
        data = yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark is not None else name
        raise error(f"{where}: not valid YAML: {problem.problem or problem.context}", cure=_CURE) from None
    except (yaml.YAMLError, ValueError) as problem:
        raise error(f"{name}: not valid YAML: {problem}", cure=_CURE) from None
    return Document(name, data, root)


def _check_depth(text: str) -> None:
    """Refuse deep nesting before anything recurses: libyaml's composer ends the process with a segmentation fault."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                mark: Any = event.start_mark
                raise yaml.MarkedYAMLError(problem=f"nested over {MAX_DEPTH} deep", problem_mark=mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _weigh(node: yaml.Node, known: dict[int, int], open_nodes: set[int]) -> int:
    """How many values a node comes to with its aliases written out; a few lines of aliases can mean billions."""
    if id(node) in open_nodes:
        raise yaml.MarkedYAMLError(problem="an alias that contains itself", problem_mark=node.start_mark)
    if id(node) in known:
        return known[id(node)]
    open_nodes.add(id(node))
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        children = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    weight = 1 + sum(_weigh(child, known, open_nodes) for child in children)
    open_nodes.discard(id(node))
    if weight > MAX_VALUES:
        raise yaml.MarkedYAMLError(problem=f"over {MAX_VALUES} values, aliases counted", problem_mark=node.start_mark)
    known[id(node)] = weight
    return weight


def _check_keys(node: yaml.MappingNode) -> None:
    """Refuse a key that stands twice: YAML takes the last one in silence."""
    seen: set[str] = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                problem = f"the key {key.value!r} is there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)


def explain(problem: ValidationError, document: Document | None, *, skip: frozenset[str] = frozenset()) -> str:
    """A pydantic error as lines for people: where, which field, what is wrong.

    Args:
        problem: the error.
        document: the file that the data came from; None for arguments.
        skip: parts of pydantic's locations that are no fields, such as the tags of a union.
    """
    lines = []
    for item in problem.errors(include_url=False, include_context=False):
        path = [part for part in item["loc"] if part not in skip]
        field = ".".join(str(part) for part in path)
        message = _message(item["type"], item["msg"], path)
        where = f"{document.position(path)}: " if document is not None else ""
        lines.append(f"{where}{field}: {message}" if field else f"{where}{message}")
    return "\n".join(dict.fromkeys(lines))


def _message(kind: str, message: str, path: Sequence[object]) -> str:
    if kind == "extra_forbidden":
        return f"unknown field `{path[-1]}`"
    return message.removeprefix("Value error, ").removeprefix("Input ")
