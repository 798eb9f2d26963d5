"""The docker or podman client on this machine: finding one that can build, running it, and what its failures mean."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import ClaudeFlowDaggerError, InfrastructureError, OutOfSpace, RefusedInput

QUICK_S: Final = 60.0
TAIL_LINES: Final = 15
PASSED_ON: Final = (
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"),
    *("CONTAINER_HOST", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "HOME", "PATH", "TMPDIR"),
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
)
"""All that the client sees of the user's environment: where the daemon is, and the way to registries."""


class Kind(StrEnum):
    """Whose client it is; they differ in a few flags."""

    DOCKER = "docker"
    PODMAN = "podman"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A client that reaches its daemon.

    Args:
        kind: docker or podman.
        executable: its absolute path.
        environment: the whole environment of its processes.
        version: the client's.
        buildx: whether it has the buildx plugin, which builds for several platforms at once.
    """

    kind: Kind
    executable: str
    environment: Mapping[str, str]
    version: str
    buildx: bool

    @property
    def can_build(self) -> bool:
        """From 23 on docker builds with BuildKit only through the buildx plugin; before, it is built in."""
        return self.kind is Kind.PODMAN or self.buildx or int(self.version.partition(".")[0] or 0) < 23


@dataclass(frozen=True)
class Done:
    """How a client's command ended: standard output, and the last lines of what it said besides."""

    code: int
    raw: bytes
    said: str

    @property
    def output(self) -> str:
        """Standard output as text."""
        return self.raw.decode("utf-8", "replace")


def environment_of(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the client, built from nothing. Pure."""
    return {name: environ[name] for name in PASSED_ON if environ.get(name)} | {
        "DOCKER_BUILDKIT": "1",
        "LANG": "C.UTF-8",
    }


def find_engine(environ: Mapping[str, str], *, named: str | None = None, building: bool = True) -> Engine:
    """The first client in PATH that reaches its daemon and, for builds, has BuildKit; docker before podman.

    Args:
        environ: of the user.
        named: a client's name or path, instead of looking.
        building: whether it must be able to build.

    Raises:
        RefusedInput: the named one is not there.
        InfrastructureError: none is there, or none reaches a daemon; the cure tells which.
    """
    environment = environment_of(environ)
    path = environment.get("PATH", os.defpath)
    found = _candidates(path, named)
    if not found:
        if named is not None:
            raise RefusedInput(f"{named} is not installed", cure="name a docker or podman client, or its path")
        raise InfrastructureError(
            "neither docker nor podman is installed",
            cure="install one (Debian: apt-get install docker.io), or use --runner local, which needs no image",
        )
    problems: list[ClaudeFlowDaggerError] = []
    for executable in found:
        try:
            engine = _probe(executable, environment)
        except ClaudeFlowDaggerError as problem:
            problems.append(problem)
            continue
        if engine.can_build or not building:
            return engine
        problems.append(
            InfrastructureError(
                f"{executable} {engine.version} cannot build: it has no buildx plugin",
                cure="install docker-buildx-plugin (Debian's own docker.io 20.10 builds without one)",
            )
        )
    raise problems[0]


def _candidates(path: str, named: str | None) -> list[str]:
    if named is not None:
        found = shutil.which(named, path=path)
        return [found] if found else []
    places = path.split(os.pathsep)
    files = [str(Path(place, kind)) for kind in Kind for place in places if place]
    return list(dict.fromkeys(file for file in files if os.access(file, os.X_OK)))


def _probe(executable: str, environment: Mapping[str, str]) -> Engine:
    kind = Kind.PODMAN if "podman" in Path(executable).name else Kind.DOCKER
    template = "{{.Client.Version}}"
    if kind is Kind.DOCKER:
        template += " {{.Server.Version}}"
    plain = Engine(kind=kind, executable=executable, environment=environment, version="0", buildx=False)
    done = run(plain, ["version", "--format", template], timeout_s=QUICK_S)
    if done.code != 0:
        raise failure(f"{executable} does not reach its daemon", done)
    buildx = kind is Kind.DOCKER and run(plain, ["buildx", "version"], timeout_s=QUICK_S).code == 0
    return Engine(
        kind=kind, executable=executable, environment=environment, version=done.output.split()[0], buildx=buildx
    )


def run(
    engine: Engine,
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: bytes | None = None,
    on_line: Callable[[str], None] = lambda _: None,
    cwd: Path | None = None,
) -> Done:
    """Run one command of the client. Its process group is gone when this returns or raises.

    Args:
        argv: without the client itself.
        timeout_s: wall time in seconds.
        stdin: given on standard input; nothing else can be read from it.
        on_line: called with each line of standard error.

    Raises:
        InfrastructureError: it could not be started, or took too long.
    """
    command = [engine.executable, *argv]
    try:
        process = subprocess.Popen(
            command, env=dict(engine.environment), cwd=cwd, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        raise InfrastructureError(
            f"{engine.executable} cannot be started: {error}", cure="is it installed whole?"
        ) from error
    lines: list[str] = []
    outputs: list[bytes] = []

    def read_errors() -> None:
        assert process.stderr is not None  # noqa: S101 - a pipe was asked for
        for raw in process.stderr:
            line = raw.decode("utf-8", "replace").rstrip()
            lines.append(line)
            del lines[:-500]
            on_line(line)

    def read_output() -> None:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        outputs.append(process.stdout.read())

    readers = [threading.Thread(target=read, daemon=True) for read in (read_errors, read_output)]
    with process:
        try:
            for reader in readers:
                reader.start()
            if stdin and process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.write(stdin)
                    process.stdin.close()
            process.wait(timeout_s)
            for reader in readers:
                reader.join(QUICK_S)
        except subprocess.TimeoutExpired:
            raise InfrastructureError(
                f"{engine.kind} {argv[0]} was not done after {timeout_s:.0f} s",
                cure="is the daemon busy, or a registry slow?",
            ) from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Done(process.returncode, b"".join(outputs), "\n".join(lines))


_CURES: Final[tuple[tuple[str, str], ...]] = (
    (
        r"permission denied while trying to connect|permission denied.*\.sock",
        "join the group that owns the socket (usermod -aG docker USER, then log in again), or use a rootless daemon",
    ),
    (
        r"Cannot connect to the Docker daemon|Is the docker daemon running|error during connect|unable to connect",
        "start the daemon (systemctl start docker), or set DOCKER_HOST to where it is",
    ),
    (
        r"pull access denied|unauthorized|authentication required|no basic auth|denied: ",
        "log in to the registry first: docker login REGISTRY, or --username with --password-stdin",
    ),
    (
        r"manifest unknown|manifest for .* not found|failed to resolve|repository does not exist|name unknown",
        "check the image's name; without an image registry: scripts/make-base-images, then --stand-ins",
    ),
    (
        r"x509|certificate signed by unknown",
        "the daemon does not trust the registry: put the site's CA into /etc/docker/certs.d/REGISTRY/ca.crt; "
        "for the steps of a build: --ca FILE",
    ),
    (
        r"server gave HTTP response to HTTPS client",
        "the registry speaks plain HTTP: list it under insecure-registries of the daemon",
    ),
    (
        r"no such host|i/o timeout|network is unreachable|TLS handshake timeout|Temporary failure resolving|dial tcp",
        "is this machine online? --base, --npm-registry, --pip-index and HTTPS_PROXY name other ways",
    ),
)


def failure(what: str, done: Done) -> ClaudeFlowDaggerError:
    """The error for a failed command, with its last lines and the cure that they suggest. Pure."""
    if re.search(r"no space left on device|ENOSPC|disk quota exceeded", done.said, re.I):
        return OutOfSpace(
            f"{what}: the daemon's disk is full", cure="claude-flow-dagger image prune --cache, or docker system prune"
        )
    lines = [line for line in done.said.splitlines() if line.strip()]
    told = "\n".join(lines[-TAIL_LINES:]) or "it said nothing"
    # What is built in the image speaks for itself.
    own = re.search(r"\bcure: (.+)$", done.said, re.M)
    known = (cure for signs, cure in _CURES if re.search(signs, done.said, re.I))
    return InfrastructureError(f"{what}:\n{told}", cure=own[1] if own else next(known, "see the lines above"))
