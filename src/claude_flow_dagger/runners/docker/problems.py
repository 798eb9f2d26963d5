"""What a daemon answers, as errors of this package: each names the thing and the cure. Pure."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Final

from claude_flow_dagger.errors import ClaudeFlowDaggerError, OutOfSpace, RefusedInput, SandboxError, UnsafeRun

NO_CONNECTION: Final = 900
"""The status that aiodocker gives an answer that never came."""

_FULL: Final = ("no space left on device", "disk quota exceeded")
_LOGIN: Final = (
    *("unauthorized", "authentication required", "access denied", "requested access to the resource is denied"),
    *("no basic auth credentials", "pull access denied", "403 forbidden", "401 unauthorized"),
)
_UNKNOWN: Final = ("no such image", "not found", "manifest unknown", "image not known", "does not exist")
_TRANSIENT: Final = (
    *("timeout", "timed out", "connection reset", "unexpected eof", "toomanyrequests", "too many requests"),
    *("temporary failure", "server misbehaving", "bad gateway", "service unavailable", "tls handshake"),
)


class NotHere(SandboxError):
    """The daemon does not share this machine's file system: it is in a virtual machine, or on another machine."""


@dataclass(frozen=True)
class Answer:
    """An answer that is no success.

    Args:
        status: HTTP's, or `NO_CONNECTION`.
        text: what it says.
    """

    status: int
    text: str

    @property
    def full(self) -> bool:
        """A disk of the daemon's is full."""
        return any(sign in self.text.lower() for sign in _FULL)

    @property
    def transient(self) -> bool:
        """The same request may succeed a moment later. A daemon that isn't there won't be."""
        if self.status in (429, 502, 503, 504):
            return True
        told_late = self.status == 0  # in the middle of a stream that began well, as a pull's
        broken = told_late or (self.status >= 500 and self.status != NO_CONNECTION)
        return broken and any(sign in self.text.lower() for sign in _TRANSIENT)


def explain_connection(address: str, error: OSError) -> SandboxError:
    """Why no daemon answers at an address."""
    if error.errno == errno.EACCES:
        return SandboxError(
            f"{address}: permission denied; this user may not speak to the daemon",
            cure="join the group that owns the socket (usermod -aG docker USER, then log in again), or use rootless "
            "Docker or Podman and set DOCKER_HOST",
        )
    reason = error.strerror or str(error)
    return SandboxError(
        f"{address}: no daemon answers ({reason})",
        cure="start Docker (systemctl start docker) or Podman (systemctl --user start podman.socket), or set "
        "DOCKER_HOST to where it listens",
    )


def explain_pull(image: str, answer: Answer) -> ClaudeFlowDaggerError:
    """Why an image could not be pulled."""
    text = answer.text.lower()
    if answer.full:
        return OutOfSpace(f"image {image}: the daemon's disk is full", cure="free some space: docker system prune")
    if any(sign in text for sign in _LOGIN):
        return RefusedInput(
            f"image {image}: the registry wants a login, or there is no such repository: {answer.text}",
            cure=f"check the name; docker login {_registry(image)}, then docker pull {image}",
        )
    if any(sign in text for sign in _UNKNOWN):
        return RefusedInput(f"image {image}: there is no such image: {answer.text}", cure="check its name and its tag")
    return SandboxError(
        f"image {image}: could not be pulled: {answer.text}", cure="check the network, or pull it before: docker pull"
    )


def explain_start(what: str, answer: Answer) -> ClaudeFlowDaggerError:
    """Why a container could not be made or started.

    Args:
        what: the container, in words.
        answer: the daemon's.
    """
    text = answer.text.lower()
    if answer.status == NO_CONNECTION:
        return SandboxError(f"{what}: the daemon went away: {answer.text}", cure="look at its log, and start it again")
    if answer.full:
        return OutOfSpace(f"{what}: the daemon's disk is full", cure="free some space: docker system prune")
    if "unknown or invalid runtime" in text or "unknown runtime" in text or "invalid runtime name" in text:
        return UnsafeRun(f"{what}: {answer.text}", cure="name a runtime that the daemon knows: docker info")
    if any(
        sign in text for sign in ("bind source path does not exist", "statfs ", "error mounting", "volume mountpoint")
    ):
        return NotHere(f"{what}: the daemon does not see this machine's files: {answer.text}")
    return SandboxError(f"{what}: {answer.text}")


def _registry(image: str) -> str:
    first, slash, _ = image.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else ""
