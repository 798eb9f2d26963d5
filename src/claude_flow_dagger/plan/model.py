"""What a plan is made of; the entrypoint reads one as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

PLAN_VERSION: Final = 1


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where things are, seen from inside a sandbox. Every path is absolute.

    Args:
        workspace: the agent's working directory.
        home: an empty, writable directory of the run's own.
        tmp: likewise, for temporary files.
        control: holds `plan.json` and, where there is one, `gateway.sock`; the entrypoint writes `exit.json` here.
        node: the `node` executable.
        claude_flow: claude-flow's `cli.js`.
        claude: the Claude Code executable; None in a runtime without it.
        entrypoint: `entrypoint.mjs`.
        ca_bundle: the certificate authorities that this site trusts, where Node does not know them by itself.
    """

    workspace: str
    home: str
    tmp: str
    control: str
    node: str
    claude_flow: str
    claude: str | None
    entrypoint: str
    ca_bundle: str | None = None


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class File(_Wire):
    """A file that the entrypoint writes before the first step."""

    path: str
    content: str
    mode: int = 0o600


class Step(_Wire):
    """One process of a plan."""

    name: str
    """`main`, or what it prepares, such as `memory-init`."""
    argv: tuple[str, ...] = Field(min_length=1)
    env: dict[str, str] = {}
    """Added to the plan's."""
    required: bool = True
    """A required step that fails ends the plan with its exit status; another's failure is only reported."""


class Plan(_Wire):
    """What the entrypoint does, as it reads it from `plan.json`."""

    version: int = PLAN_VERSION
    cwd: str
    env: dict[str, str]
    """The whole environment of every step: nothing is inherited."""
    directories: tuple[str, ...] = ()
    """Made (0700) before anything else, parents too."""
    files: tuple[File, ...] = ()
    steps: tuple[Step, ...] = Field(min_length=1)
    gateway_socket: str | None = None
    """The gateway's unix socket as seen from inside; None: no forwarder."""
    gateway_port: int | None = None
    """The loopback port that the entrypoint forwards to `gateway_socket`; 0 picks a free one, and `{gateway_port}` in
    environment values and file contents becomes it."""
    lease: bool = False
    """End everything within 3 s once the gateway's socket is gone (a killed CLI)."""
    grace_s: float = 2.0
    """Seconds between SIGTERM and SIGKILL when the entrypoint is asked to end."""
