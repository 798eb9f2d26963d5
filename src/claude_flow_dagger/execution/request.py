"""What a caller asks of one run, beyond the job itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from claude_flow_dagger.events import Event
from claude_flow_dagger.job import AgentJob, CommandJob
from claude_flow_dagger.plan.environment import Credential

if TYPE_CHECKING:
    from claude_flow_dagger.gateway.upstreams import Upstream

# What claude-flow 3.43.0 and 2.7.47 write into the directory they work in. State, not part of a patch.
STATE_PATHS: Final = (".swarm", ".claude-flow", ".hive-mind", ".claude/memory.db")

DIRECTORIES_OF_STATE: Final = (".swarm", ".claude-flow", ".hive-mind")


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Where the run's model is.

    Args:
        upstream: what the gateway passes requests on to.
        credential: the dialect that Claude Code has to speak to it.
        scripted: the model is a script.
        secrets: values that must never leave unmasked.
    """

    upstream: Upstream
    credential: Credential = Credential.API_KEY
    scripted: bool = False
    secrets: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One run.

    Args:
        job: what to run.
        source: the directory that it works on; None for an empty one.
        in_place: work in `source` itself and not in a copy.
        apply: write the patch to `source` when the verdict is `succeeded`.
        state: claude-flow's state is taken from this directory and handed out to it.
        model: needed by agent jobs and by commands that start Claude Code.
        allow_unsandboxed: run with a real key even where no sandbox works. Anything that the agent starts can then read
            this machine's files and reach its network.
        ledger: a JSONL file that a line a request is appended to.
        versions: of the runtime, for the result.
        secrets: more values that must never leave unmasked.
        on_event: told what happens, masked, in order, from the event loop's thread.
        cancelled: set it to stop the run.
    """

    job: AgentJob | CommandJob
    source: Path | None = None
    in_place: bool = False
    apply: bool = False
    state: Path | None = None
    model: ModelSource | None = None
    allow_unsandboxed: bool = False
    ledger: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    on_event: Callable[[Event], None] = lambda _event: None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
