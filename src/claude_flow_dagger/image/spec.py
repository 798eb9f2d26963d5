"""What an image is made of: targets, versions, tags, and the build's arguments. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import RefusedInput
from claude_flow_dagger.job import Pins

REPOSITORY: Final = "claude-flow-dagger"
LABEL: Final = "dev.claude-flow-dagger"
LAYOUT: Final = "1"
"""Of /opt/claude-flow-dagger; in the label of every image that has it."""
DEFAULT_NODE: Final = "24.19.0"
BASE_PREFIX: Final = "cfd-base"
"""Of the stand-ins that `scripts/make-base-images` makes."""
# A reference as the distribution project has it: host, path, tag, digest.
_REFERENCE: Final = re.compile(
    r"(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d+)?/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_PLATFORM: Final = re.compile(r"linux/(amd64|arm64)")


class Target(StrEnum):
    """The targets of the Dockerfile."""

    CLAUDE_FLOW = "claude-flow"
    ALPINE = "alpine"
    DISTROLESS = "distroless"
    AGENT = "agent"
    CLI = "cli"


class BaseImage(StrEnum):
    """The base images that a build may be given, by their build argument."""

    NODE = "NODE_IMAGE"
    BASE = "BASE_IMAGE"
    ALPINE_NODE = "ALPINE_NODE_IMAGE"
    ALPINE = "ALPINE_IMAGE"
    DISTROLESS = "DISTROLESS_IMAGE"
    PYTHON = "PYTHON_IMAGE"


def check_reference(text: str) -> str:
    """An image's name, unchanged.

    Raises:
        RefusedInput: it is none; a client would take `--flag` for an option.
    """
    if not _REFERENCE.fullmatch(text):
        raise RefusedInput(f"{text!r} is not the name of an image", cure="write NAME:TAG or REGISTRY/NAME:TAG")
    return text


def stand_ins(prefix: str = BASE_PREFIX, node: str = DEFAULT_NODE) -> dict[BaseImage, str]:
    """The tags that `scripts/make-base-images` makes."""
    return {
        BaseImage.NODE: f"{prefix}/node:{node}-bookworm-slim",
        BaseImage.BASE: f"{prefix}/debian:bookworm-slim",
        BaseImage.DISTROLESS: f"{prefix}/distroless:cc-debian12",
        BaseImage.PYTHON: f"{prefix}/python:3.11-slim-bookworm",
    }


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """One build.

    Args:
        target: of the Dockerfile.
        pins: versions; `pins.claude_code` only matters `with_claude`.
        with_claude: Claude Code too (target `agent` only).
        node: the version that the Node image has.
        bases: base images, where they are not the Dockerfile's own.
        ca: PEM file of the site's certificates.
        npmrc: npm's settings with a registry's token; a secret of the build.
        npm_registry: instead of npm's own.
        pip_index: instead of PyPI (target `cli`).
        tag: instead of `claude-flow-dagger:TARGET-VERSION`.
        platforms: such as `linux/arm64`; empty for the daemon's.
        version: of this package.
        revision: of its source; empty when not known.
        no_cache: build every step.
    """

    target: Target
    pins: Pins = field(default_factory=Pins)
    with_claude: bool = False
    node: str = DEFAULT_NODE
    bases: Mapping[BaseImage, str] = field(default_factory=dict)
    ca: Path | None = None
    npmrc: Path | None = None
    npm_registry: str | None = None
    pip_index: str | None = None
    tag: str | None = None
    platforms: tuple[str, ...] = ()
    version: str
    revision: str = ""
    no_cache: bool = False

    @property
    def reference(self) -> str:
        """The image's name here."""
        return self.tag or f"{REPOSITORY}:{local_tag(self.target, self.pins, self.version)}"


def local_tag(target: Target, pins: Pins, version: str) -> str:
    """`agent-3.43.0`; the command line's image has the version of this package instead."""
    return f"{target}-{version if target is Target.CLI else pins.claude_flow}"


def release_tags(target: Target, pins: Pins, version: str) -> tuple[str, ...]:
    """The tags of a published image: this package's version, whole and shortened, before what is in it.

    Args:
        version: of this package, `MAJOR.MINOR.PATCH` with an optional suffix; one with a suffix gets its own tag only.
    """
    inside = "" if target is Target.CLI else f"-cf{pins.claude_flow}"
    whole = f"{version}{inside}-{target}"
    match = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", version)
    if match is None:
        return (whole,)
    major, minor, _ = match.groups()
    # Before 1.0 a minor version may break things: no tag promises more.
    shorter = [f"{major}.{minor}", *([major] if major != "0" else [])]
    return (whole, *(f"{short}{inside}-{target}" for short in shorter))


def check_request(request: BuildRequest) -> None:
    """Refuse what cannot be built.

    Raises:
        RefusedInput: with the option at fault.
    """
    if request.with_claude and request.target is not Target.AGENT:
        raise RefusedInput(f"the target {request.target} has no Claude Code", cure="--target agent")
    if request.target in (Target.ALPINE, Target.DISTROLESS) and request.pins.claude_flow.startswith("2."):
        raise RefusedInput(
            f"{request.target} with claude-flow {request.pins.claude_flow} is not offered: it needs glibc and a shell",
            cure="--target claude-flow, or claude-flow 3.43.0",
        )
    for platform in request.platforms:
        if not _PLATFORM.fullmatch(platform):
            raise RefusedInput(f"--platform {platform}", cure="linux/amd64 or linux/arm64")
    for reference in (request.reference, *request.bases.values()):
        check_reference(reference)
    for name, file in (("--ca", request.ca), ("--npmrc", request.npmrc)):
        if file is not None and not file.is_file():
            raise RefusedInput(f"{name} {file} is not a file")


def build_arguments(request: BuildRequest, ca_digest: str) -> dict[str, str]:
    """The build arguments of a request. None is a secret: arguments can be read in an image's history.

    Args:
        ca_digest: sha256 of the CA file, or empty; another certificate is another build.
    """
    arguments = {
        "CLAUDE_FLOW_VERSION": request.pins.claude_flow,
        "NODE_VERSION": request.node,
        "VERSION": request.version,
        "REVISION": request.revision,
        **{base.value: image for base, image in request.bases.items()},
    }
    if request.with_claude:
        arguments["CLAUDE_CODE"] = request.pins.claude_code
    optional = {"CA_SHA256": ca_digest, "NPM_REGISTRY": request.npm_registry, "PIP_INDEX": request.pip_index}
    return arguments | {name: value for name, value in optional.items() if value}
