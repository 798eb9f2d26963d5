"""Model scripts out of YAML, with the line and column of whatever is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from claude_flow_dagger.errors import InvalidScript
from claude_flow_dagger.gateway.script.model import Script

MAX_SCRIPT: Final = 8 << 20
"""Bytes of the longest script."""
_CURE: Final = "see docs/model-script.md"

Path_ = tuple[str | int, ...]


def load_script(path: Path) -> Script:
    """Read a model script.

    Raises:
        InvalidScript: it cannot be read, is no YAML or does not fit the schema; the message has line and column.
    """
    try:
        if path.stat().st_size > MAX_SCRIPT:
            raise InvalidScript(f"{path}: longer than {MAX_SCRIPT} bytes", cure="split the script")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidScript(f"{path}: cannot be read: {error.strerror}", cure="check the path and its mode") from error
    except UnicodeDecodeError as error:
        raise InvalidScript(f"{path}: is not UTF-8 at byte {error.start}", cure="save it as UTF-8") from error
    return parse_script(text, name=str(path))


def parse_script(text: str, *, name: str) -> Script:
    """A model script out of YAML (or JSON) text.

    Args:
        text: the script.
        name: what to call it in messages.

    Raises:
        InvalidScript: it is no YAML or does not fit the schema; the message has line and column.
    """
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        if root is None:
            raise InvalidScript(f"{name}: is empty", cure=_CURE)
        marks: dict[Path_, yaml.Mark] = {}
        _mark(root, (), marks, frozenset())
        data = loader.construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise InvalidScript(f"{name}{_at(mark)}: {error.problem or error.context}", cure=_CURE) from None
    except yaml.YAMLError as error:
        raise InvalidScript(f"{name}: is no YAML: {error}", cure=_CURE) from None
    except (RecursionError, ValueError) as error:
        raise InvalidScript(f"{name}: is no usable YAML: {error}", cure=_CURE) from None
    finally:
        if loader is not None:
            loader.dispose()
    try:
        return Script.model_validate(data)
    except ValidationError as error:
        raise InvalidScript(_describe(error, name, marks), cure=_CURE) from None


class _Loader(yaml.SafeLoader):
    """YAML without surprises: no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if isinstance(key, str):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key!r} is there twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def _mark(node: yaml.Node, path: Path_, marks: dict[Path_, yaml.Mark], above: frozenset[int]) -> None:
    """Note where every part of the document begins; keys count as the place of their value."""
    if id(node) in above:
        raise yaml.constructor.ConstructorError(None, None, "an alias contains itself", node.start_mark)
    above |= {id(node)}
    marks.setdefault(path, node.start_mark)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*path, str(key.value))
            marks.setdefault(below, key.start_mark)
            _mark(value, below, marks, above)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _mark(value, (*path, index), marks, above)


def _describe(error: ValidationError, name: str, marks: dict[Path_, yaml.Mark]) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        location = tuple(problem["loc"])
        mark = next((marks[location[:end]] for end in range(len(location), -1, -1) if location[:end] in marks), None)
        field = ".".join(str(part) for part in location) or "the script"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "unknown field"
        lines.append(f"{name}{_at(mark)}: {field}: {message}")
    return "\n".join(lines)


def _at(mark: yaml.Mark | None) -> str:
    return "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"
