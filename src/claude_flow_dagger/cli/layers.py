"""A job out of everything that was said: settings file < job file < environment < arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from claude_flow_dagger.config import Settings
from claude_flow_dagger.errors import InvalidJob
from claude_flow_dagger.job import AgentJob, CommandJob
from claude_flow_dagger.jobfile import merge, read_job_file, validate_job


def build_job(settings: Settings, file: Path | None, arguments: Mapping[str, Any]) -> AgentJob | CommandJob:
    """Merge the layers and validate the whole.

    Args:
        settings: the outermost layers.
        file: a job file.
        arguments: a partial job; what was not said is left out or None, at any depth.

    Raises:
        InvalidJob: naming the place in the file, or the field.
    """
    document = read_job_file(file) if file is not None else None
    said = without_nones(arguments)
    kind = said.get("kind") or (document.data.get("kind") if document is not None else None)
    outer, environment = (
        _fitting(layer, str(kind or "agent")) for layer in (settings.file_job, settings.environment_job)
    )
    data = merge(outer, document.data if document is not None else {}, environment, said)
    if "objective" not in data and "argv" not in data:
        raise InvalidJob("there is no objective", cure='say what to do: claude-flow-dagger run "…", or --file JOB.yaml')
    return validate_job(data, document)


def without_nones(data: Mapping[str, Any]) -> dict[str, Any]:
    """Drop what was not said, at any depth, and the mappings that are empty then."""
    kept = {}
    for key, value in data.items():
        inner = without_nones(value) if isinstance(value, Mapping) else value
        if inner is not None and inner != {}:
            kept[key] = inner
    return kept


def parse_env(pairs: Sequence[str] | None) -> dict[str, str] | None:
    """`NAME=VALUE` arguments.

    Raises:
        InvalidJob: one without an equals sign.
    """
    if not pairs:
        return None
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise InvalidJob(f"--env {wrong[0]}: write NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _fitting(layer: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The fields of a layer that a job of this kind has: a default strategy must not make a command job invalid."""
    if kind == "agent":
        return dict(layer)
    return {key: value for key, value in layer.items() if key in CommandJob.model_fields}
