"""Model scripts out of YAML, with the line and column of whatever is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from claude_flow_dagger.errors import InvalidScript
from claude_flow_dagger.gateway.script.model import Script
from claude_flow_dagger.yamlfile import Document, explain, parse_document, read_document

_CURE: Final = "see docs/model-script.md, or `claude-flow-dagger schema model-script`"


def load_script(path: Path) -> Script:
    """Read a model script.

    Raises:
        InvalidScript: it cannot be read, is no YAML or does not fit the schema; the message has line and column.
    """
    return _script(read_document(path, InvalidScript))


def parse_script(text: str, *, name: str) -> Script:
    """A model script out of YAML (or JSON) text.

    Args:
        text: the script.
        name: what to call it in messages.

    Raises:
        InvalidScript: it is no YAML or does not fit the schema; the message has line and column.
    """
    return _script(parse_document(text, name, InvalidScript))


def _script(document: Document) -> Script:
    if document.root is None:
        raise InvalidScript(f"{document.name}: is empty", cure=_CURE)
    try:
        return Script.model_validate(document.data)
    except ValidationError as error:
        raise InvalidScript(explain(error, document), cure=_CURE) from None
