"""What to run: `Job` and its parts. Immutable, versioned, readable from YAML and JSON; no I/O here."""

from __future__ import annotations

import re
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

JOB_VERSION: Final = 1
DEFAULT_MODEL: Final = "claude-sonnet-5-5"
DEFAULT_CLAUDE_FLOW: Final = "3.43.0"


class Topology(StrEnum):
    """How the agents of a hive mind are connected (`claude-flow hive-mind init --topology`)."""

    HIERARCHICAL_MESH = "hierarchical-mesh"
    HIERARCHICAL = "hierarchical"
    MESH = "mesh"
    ADAPTIVE = "adaptive"


class Consensus(StrEnum):
    """How a hive mind agrees (`claude-flow hive-mind init --consensus`)."""

    BYZANTINE = "byzantine"
    RAFT = "raft"
    GOSSIP = "gossip"
    CRDT = "crdt"
    QUORUM = "quorum"


class Network(StrEnum):
    """What a sandbox can reach: the model's gateway and nothing else, everything, or nothing at all."""

    MODEL = "model"
    OPEN = "open"
    NONE = "none"


class Expect(StrEnum):
    """The evidence that a run must leave to count as succeeded."""

    ANY = "any"
    CHANGES = "changes"
    ANSWER = "answer"


class Effort(StrEnum):
    """How hard the model thinks (`claude --effort`)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[KMGT]i?B?)?", re.IGNORECASE)
_UNITS: Final = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def parse_duration(value: Any) -> Any:
    """Seconds out of `90`, `"90"`, `"30m"`, `"1h30m"` or `"1.5s"`; anything else is handed on for pydantic to refuse.

    Raises:
        ValueError: a text that is no duration.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{value!r} is not a duration: write 90, 30m, 1h30m or 45s")
    hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def parse_size(value: Any) -> Any:
    """Bytes out of `1048576`, `"2GiB"`, `"512M"`; units are powers of 1024.

    Raises:
        ValueError: a text that is no size.
    """
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"{value!r} is not a size: write 2GiB, 512MiB or a number of bytes")
    number, unit = match.groups()
    return int(float(number) * _UNITS.get((unit or "B")[0].upper(), 1))


Seconds = Annotated[float, BeforeValidator(parse_duration, json_schema_input_type=float | str), Field(gt=0, le=604_800)]
Bytes = Annotated[int, BeforeValidator(parse_size, json_schema_input_type=int | str), Field(gt=0)]
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@\[\]-]*$", max_length=200)]
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=200)]


class Part(BaseModel):
    """The base of every part of a job: immutable, and unknown fields are refused by name."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Limits(Part):
    """What a run may use before it is stopped."""

    wall: Seconds = 1800.0
    """Wall time: seconds, or a text such as `30m`."""
    memory: Bytes = 4 * 1024**3
    """Memory of the whole process tree: bytes, or a text such as `2GiB`."""
    cpus: float = Field(default=2.0, gt=0, le=1024)
    """Processors."""
    pids: int = Field(default=512, ge=16, le=100_000)
    """Processes and threads, together."""
    turns: int | None = Field(default=None, ge=1)
    """Agent turns (`claude --max-turns`)."""
    requests: int | None = Field(default=None, ge=1)
    """Requests to the model, subagents' included."""
    tokens: int | None = Field(default=None, ge=1)
    """Input and output tokens together, subagents' included; cache reads and writes count."""
    usd: Decimal | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Cost in USD, subagents' included, held by the gateway."""


class Model(Part):
    """Which model the agent talks to."""

    name: Token = DEFAULT_MODEL
    """Always named: Claude Code's own default differs between an API key and an OAuth token."""
    fallback: Token | None = None
    """Tried when the model is overloaded."""
    effort: Effort | None = None


class HiveMind(Part):
    """claude-flow's own coordination: `hive-mind init` and `hive-mind spawn --claude`."""

    name: Literal["hive-mind"] = "hive-mind"
    topology: Topology = Topology.HIERARCHICAL_MESH
    consensus: Consensus = Consensus.BYZANTINE
    agents: int = Field(default=3, ge=1, le=100)
    """Workers that the hive registers (`spawn --count`)."""
    roles: tuple[Token, ...] = ()
    """Agent types of the workers, such as `coder` or `tester`; by default they are plain workers."""


class Direct(Part):
    """Claude Code alone, with claude-flow's MCP tools."""

    name: Literal["direct"] = "direct"


def _named_strategy(value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and "name" not in value:
        return {"name": "hive-mind", **value}
    return value


def _named_model(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Strategy = Annotated[
    Annotated[HiveMind | Direct, Field(discriminator="name")],
    BeforeValidator(_named_strategy, json_schema_input_type=HiveMind | Direct | Literal["hive-mind", "direct"]),
]
"""A strategy; its name alone will do, and a mapping without a name is a hive mind's."""

NamedModel = Annotated[Model, BeforeValidator(_named_model, json_schema_input_type=Model | Token)]
"""A model; its name alone will do."""


class Tools(Part):
    """Claude Code's tools: which may be used without asking (`allow`) and which never (`deny`)."""

    allow: tuple[str, ...] = ()
    """Empty: every tool, since the sandbox and not the prompt is the fence."""
    deny: tuple[str, ...] = ()


class Pins(Part):
    """Versions of what runs inside; each has a lock in this package."""

    claude_flow: Literal["3.43.0", "2.7.47"] = DEFAULT_CLAUDE_FLOW
    claude_code: Literal["2.1.330"] = "2.1.330"


class _JobBase(Part):
    version: Literal[1] = JOB_VERSION
    limits: Limits = Limits()
    env: dict[EnvName, str] = {}
    """Additional environment of the sandbox. Not for secrets: a job is written to logs and results."""
    mounts: tuple[str, ...] = ()
    """Absolute paths of this machine that the sandbox sees read-only, at the same place."""
    verify: str | None = Field(default=None, min_length=1, max_length=10_000)
    """A shell command run on the result in a fresh sandbox without network or gateway; its failure is the run's."""
    pins: Pins = Pins()

    @model_validator(mode="after")
    def _paths_are_absolute(self) -> _JobBase:
        for path in self.mounts:
            if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
                raise ValueError(f"mounts: {path!r} is not a plain absolute path")
        reserved = sorted(name for name in self.env if name in RESERVED_ENV)
        if reserved:
            raise ValueError(f"env: {', '.join(reserved)} is set by claude-flow-dagger itself")
        return self


RESERVED_ENV: Final = frozenset(
    {"HOME", "PATH", "TMPDIR", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_BASE_URL"}
    | {"CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR", "NODE_OPTIONS", "LD_PRELOAD", "LD_LIBRARY_PATH"}
)


class AgentJob(_JobBase):
    """An objective for an agent."""

    kind: Literal["agent"] = "agent"
    objective: str = Field(min_length=1, max_length=100_000)
    """What the agents shall do, in words."""
    strategy: Strategy = HiveMind()
    model: NamedModel = Model()
    network: Network = Network.MODEL
    expect: Expect = Expect.ANY
    tools: Tools = Tools()
    system_prompt: str | None = Field(default=None, max_length=100_000)
    """Added to the end of Claude Code's own system prompt."""

    @model_validator(mode="after")
    def _can_reach_its_model(self) -> AgentJob:
        if self.network is Network.NONE:
            raise ValueError("network: an agent needs its model; use `model` (the gateway and nothing else) or `open`")
        if "\0" in self.objective:
            raise ValueError("objective: a NUL character cannot be handed to a process")
        if not self.objective.strip():
            raise ValueError("objective: is blank")
        return self


class CommandJob(_JobBase):
    """One claude-flow command from the catalogue."""

    kind: Literal["command"]
    argv: tuple[str, ...] = Field(min_length=1, max_length=1000)
    """The command line after `claude-flow`, such as `["memory", "search", "-q", "x"]`."""
    network: Network = Network.NONE
    model: NamedModel = Model()
    """Used by the few commands that start Claude Code themselves."""
    expect: Literal[Expect.ANY, Expect.CHANGES] = Expect.ANY


Job = Annotated[AgentJob | CommandJob, Field(discriminator="kind")]
"""A job of either kind; `kind` may be left out of an agent's."""


def _default_kind(value: Any) -> Any:
    if isinstance(value, dict) and "kind" not in value:
        return {**value, "kind": "agent"}
    return value


JOB: Final[TypeAdapter[AgentJob | CommandJob]] = TypeAdapter(Annotated[Job, BeforeValidator(_default_kind)])
"""Validates and dumps jobs: `JOB.validate_python(data)`, `JOB.json_schema()`."""
