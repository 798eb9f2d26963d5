"""Images: what a runtime image says of itself in its labels, and how one that isn't here is pulled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from claude_flow_dagger.errors import RefusedInput, SandboxError
from claude_flow_dagger.job import DEFAULT_CLAUDE_FLOW, Pins
from claude_flow_dagger.plan import Layout
from claude_flow_dagger.runners.bubblewrap import CONTROL, HOME, RUNTIME, TMP, WORKSPACE
from claude_flow_dagger.runners.docker.client import DaemonSays, Engine, told
from claude_flow_dagger.runners.docker.problems import explain_pull, explain_start

LABEL: Final = "dev.claude-flow-dagger."
LAYOUT_LABEL: Final = f"{LABEL}layout"
TINI: Final = f"{RUNTIME}/tini"
_TOOLS: Final = ("claude-flow", "claude-code", "node")


def default_image(pins: Pins) -> str:
    """The tag that `image build --target agent` gives."""
    return f"claude-flow-dagger:agent-{pins.claude_flow}"


@dataclass(frozen=True, kw_only=True)
class RuntimeImage:
    """An image with the runtime in its place.

    Args:
        id: its digest; what is run, whatever its name means later.
        name: for messages.
        versions: of `claude-flow`, `node` and, where it is in, `claude-code`.
        environment: what the image itself sets.
    """

    id: str
    name: str
    versions: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)

    def layout(self) -> Layout:
        """Where everything is inside."""
        return Layout(
            workspace=WORKSPACE,
            home=HOME,
            tmp=TMP,
            control=CONTROL,
            node=f"{RUNTIME}/node/bin/node",
            claude_flow=f"{RUNTIME}/claude-flow/node_modules/claude-flow/bin/cli.js",
            claude=f"{RUNTIME}/claude/claude" if "claude-code" in self.versions else None,
            entrypoint=f"{RUNTIME}/entrypoint.mjs",
        )


def _build(pins: Pins) -> str:
    version = "" if pins.claude_flow == DEFAULT_CLAUDE_FLOW else f" --claude-flow {pins.claude_flow}"
    return f"claude-flow-dagger image build --target agent{version}"


def read_image(name: str, inspected: Mapping[str, Any], pins: Pins) -> RuntimeImage:
    """A runtime image out of what the daemon tells of it. Pure.

    Args:
        name: for messages.
        inspected: the daemon's answer.
        pins: what the job asks for.

    Raises:
        RefusedInput: it has no runtime, or another one.
    """
    config = inspected.get("Config") or {}
    labels = config.get("Labels") or {}
    if labels.get(LAYOUT_LABEL) != "1":
        what = "has no claude-flow-dagger runtime in it" if LAYOUT_LABEL not in labels else "is of another version"
        raise RefusedInput(
            f"image {name}: {what} (label {LAYOUT_LABEL})",
            cure="give it with --image, which layers the runtime onto it, or build one: "
            "claude-flow-dagger image build --target agent",
        )
    versions = {tool: str(labels[LABEL + tool]) for tool in _TOOLS if labels.get(LABEL + tool)}
    wanted = {"claude-flow": pins.claude_flow, "claude-code": pins.claude_code}
    for tool, version in wanted.items():
        if tool in versions and versions[tool] != version:
            raise RefusedInput(
                f"image {name}: has {tool} {versions[tool]}, and the job is pinned to {version}",
                cure=_build(pins),
            )
    pairs = (str(entry).partition("=") for entry in config.get("Env") or ())
    environment = {key: value for key, _, value in pairs}
    return RuntimeImage(id=str(inspected["Id"]), name=name, versions=versions, environment=environment)


async def inspect_image(engine: Engine, name: str) -> Mapping[str, Any] | None:
    """What the daemon tells of an image that it has; None when it hasn't.

    Raises:
        SandboxError: the daemon does not answer.
        RefusedInput: a name that is none.
    """
    try:
        with told():
            return dict(await engine.docker.images.inspect(name))
    except DaemonSays as says:
        if says.answer.status == 404:
            return None
        if says.answer.status == 400 or "invalid reference" in says.answer.text:
            raise RefusedInput(f"image {name!r}: {says.answer.text}", cure="write NAME:TAG") from says
        raise explain_start(f"image {name}", says.answer) from says


async def has_runtime(engine: Engine, name: str) -> bool:
    """Whether an image that is here has the runtime in it already.

    Raises:
        SandboxError: the daemon does not answer.
    """
    found = await inspect_image(engine, name)
    return found is not None and LAYOUT_LABEL in ((found.get("Config") or {}).get("Labels") or {})


async def local_runtime_image(engine: Engine, name: str, pins: Pins) -> RuntimeImage:
    """An image of ours, which must be here already: none with Claude Code in it may be published.

    Raises:
        SandboxError: it isn't here.
        RefusedInput: it is something else.
    """
    found = await inspect_image(engine, name)
    if found is None:
        raise SandboxError(
            f"image {name}: is not on this machine ({engine.address})",
            cure=_build(pins),
        )
    return read_image(name, found, pins)


async def ensure_image(engine: Engine, name: str) -> str:
    """Pull an image unless it is here, without a login of ours; transient failures are tried again.

    Args:
        engine: where.
        name: what.

    Returns:
        Its id.

    Raises:
        RefusedInput: there is none of that name, or the registry wants a login.
        SandboxError: the registry cannot be reached.
        OutOfSpace: the daemon's disk is full.
    """
    import stamina

    found = await inspect_image(engine, name)
    if found is None:
        try:
            async for attempt in stamina.retry_context(on=_is_transient, attempts=4, timeout=120, wait_max=10):
                with attempt:
                    await _pull(engine, name)
        except DaemonSays as says:
            raise explain_pull(name, says.answer) from says
        found = await inspect_image(engine, name)
    if found is None:
        raise SandboxError(f"image {name}: was pulled and isn't there", cure=f"try docker pull {name}")
    return str(found["Id"])


def _is_transient(error: Exception) -> bool:
    return isinstance(error, DaemonSays) and error.answer.transient


async def _pull(engine: Engine, name: str) -> None:
    tagged = name if ":" in name.rpartition("/")[2] or "@" in name else f"{name}:latest"
    with told():
        await engine.docker.images.pull(tagged, timeout=None)
