"""Jobs out of files, environment and arguments: merged layer by layer, validated once, errors with their place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from claude_flow_dagger.errors import InvalidJob
from claude_flow_dagger.job import JOB, AgentJob, CommandJob
from claude_flow_dagger.result import Result
from claude_flow_dagger.yamlfile import Document, explain, read_document

SCHEMA_ID: Final = "urn:claude-flow-dagger:job:1"
RESULT_SCHEMA_ID: Final = "urn:claude-flow-dagger:result:1"

# The tags of the unions, which pydantic puts into its locations.
_TAGS: Final = frozenset({"agent", "command", "hive-mind", "direct"})


def read_job_file(path: Path) -> Document:
    """A job file as data, not validated yet: the environment and arguments may still change it.

    Raises:
        InvalidJob: unreadable, no YAML, or no mapping.
    """
    document = read_document(path, InvalidJob)
    if not isinstance(document.data, dict):
        raise InvalidJob(f"{path}: a job is a mapping such as `objective: …`, not {type(document.data).__name__}")
    return document


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Later layers win; mappings are merged key by key, everything else is replaced.

    A strategy of another name replaces the earlier one whole, since its fields are other ones.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            if isinstance(old, Mapping) and isinstance(value, Mapping) and not _renamed(key, old, value):
                merged[key] = merge(old, value)
            else:
                merged[key] = value
    return merged


def _renamed(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return key == "strategy" and "name" in new and new["name"] != old.get("name", "hive-mind")


def validate_job(data: Mapping[str, Any], document: Document | None = None) -> AgentJob | CommandJob:
    """The job in merged data.

    Args:
        data: all layers, merged.
        document: the job file, so that errors can name line and column.

    Raises:
        InvalidJob: a line per mistake.
    """
    try:
        return JOB.validate_python(dict(data))
    except ValidationError as problem:
        raise InvalidJob(
            explain(problem, document, skip=_TAGS), cure="`claude-flow-dagger schema` has it all"
        ) from None


def job_schema() -> dict[str, Any]:
    """The JSON Schema of job files (draft 2020-12)."""
    schema = JOB.json_schema(mode="validation")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "claude-flow-dagger job",
    }
    return {**head, **schema}


def result_schema() -> dict[str, Any]:
    """The JSON Schema of results, as `--output json` prints them (draft 2020-12)."""
    schema = Result.model_json_schema(mode="serialization")
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": RESULT_SCHEMA_ID}
    return {**head, **schema}


def render_schema(schema: Mapping[str, Any]) -> str:
    """A schema as it is committed and printed: stable, two spaces, a newline at the end."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
