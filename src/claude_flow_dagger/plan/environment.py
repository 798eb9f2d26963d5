"""The environment of a sandbox, built from nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from claude_flow_dagger.job import Model
from claude_flow_dagger.plan.model import Layout

# Quiet, offline, reproducible, with memory that reaches the disk without a compiler. Seen with 3.43.0:
# a plain `memory retrieve` starts a daemon that outlives it; without the bridge switch `memory store` keeps nothing.
CLAUDE_FLOW_ENV: Final[Mapping[str, str]] = {
    "CI": "true",
    "RUFLO_DAEMON_AUTOSTART": "0",
    "CLAUDE_FLOW_DISABLE_BRIDGE": "1",
    "CLAUDE_FLOW_AUTO_UPDATE": "false",
    "RUFLO_FUNNEL": "0",
}

# Seen with Claude Code 2.1.330: the first flag alone silences every host but the model. Ten retries, its default,
# take three minutes to give up on an overloaded model; four take some ten seconds. IS_SANDBOX lets it skip its
# permission prompts as root, which it only is in a run without a sandbox.
CLAUDE_CODE_ENV: Final[Mapping[str, str]] = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "4",
    "DISABLE_AUTOUPDATER": "1",
    "ENABLE_TOOL_SEARCH": "true",
    "IS_SANDBOX": "1",
}

GIT_ENV: Final[Mapping[str, str]] = {
    "GIT_AUTHOR_NAME": "claude-flow agent",
    "GIT_AUTHOR_EMAIL": "agent@localhost",
    "GIT_COMMITTER_NAME": "claude-flow agent",
    "GIT_COMMITTER_EMAIL": "agent@localhost",
    "GIT_TERMINAL_PROMPT": "0",
}


class Credential(StrEnum):
    """In which variable Claude Code finds the run's token; with an OAuth token it speaks another dialect."""

    API_KEY = "ANTHROPIC_API_KEY"
    OAUTH = "CLAUDE_CODE_OAUTH_TOKEN"


@dataclass(frozen=True, kw_only=True)
class ModelAccess:
    """How a sandbox reaches its model: the gateway's address and the run's own token, never a key.

    Args:
        token: the run's token, worthless outside the run.
        credential: the variable that it goes into.
        socket: the gateway's unix socket as seen from inside; the entrypoint forwards a loopback port to it.
        base_url: used instead of a socket where the gateway is a network service.
    """

    token: str = field(repr=False)
    credential: Credential = Credential.API_KEY
    socket: str | None = None
    base_url: str | None = None

    def url(self) -> str:
        """The base URL that Claude Code is given; `{gateway_port}` is filled in by the entrypoint."""
        return self.base_url if self.base_url is not None else "http://127.0.0.1:{gateway_port}"


def shim_directory(layout: Layout) -> str:
    """Where the shim named `claude` lies: first in PATH, so that claude-flow finds it before anything else."""
    return posixpath.join(layout.control, "bin")


def base_environment(layout: Layout, extra: Mapping[str, str]) -> dict[str, str]:
    """What every process of every sandbox gets.

    Args:
        layout: where things are.
        extra: the job's own variables; they never win over ours.
    """
    path = (shim_directory(layout), posixpath.dirname(layout.node), "/usr/local/bin", "/usr/bin", "/bin")
    names = ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    certificates = dict.fromkeys(names, layout.ca_bundle) if layout.ca_bundle else {}
    return {
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **GIT_ENV,
        **extra,
        **certificates,
        "PATH": ":".join(path),
        "HOME": layout.home,
        "TMPDIR": layout.tmp,
        "USER": "agent",
        "LOGNAME": "agent",
        "SHELL": "/bin/sh",
        **CLAUDE_FLOW_ENV,
    }


def model_environment(layout: Layout, access: ModelAccess, model: Model) -> dict[str, str]:
    """What Claude Code needs on top: its own quiet settings, the gateway's address and the run's token."""
    return {
        **CLAUDE_CODE_ENV,
        "CLAUDE_CONFIG_DIR": posixpath.join(layout.home, ".claude"),
        # Built-in subagents ask for a smaller model by themselves; the gateway only lets the job's own through.
        "CLAUDE_CODE_SUBAGENT_MODEL": model.name,
        "ANTHROPIC_BASE_URL": access.url(),
        access.credential.value: access.token,
    }
