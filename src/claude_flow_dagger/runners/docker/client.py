"""The connection to a daemon: where it listens, what it is, and its answers as errors of this package.

aiodocker has no way to stream an archive or raw logs, so `Engine.stream` uses its request method directly.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import stat
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from claude_flow_dagger.errors import SandboxError
from claude_flow_dagger.runners.docker.problems import NO_CONNECTION, Answer, explain_connection

if TYPE_CHECKING:
    import aiodocker
    import aiohttp

MIN_API: Final = (1, 41)
"""Docker 20.10; Podman 4 says the same."""
_QUICK_S: Final = 60.0
"""Seconds for an answer that needs no work."""
INSTALL: Final = "pip install 'claude-flow-dagger[container]'"


class DaemonSays(Exception):
    """An answer that is no success; whoever asked knows what it means and raises an error of the tree."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"[{answer.status}] {answer.text}")
        self.answer = answer


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A connected daemon.

    Args:
        docker: the client.
        address: where it listens.
        kind: which of the two.
        api: the version of the API that is spoken.
        info: what it says of itself.
    """

    docker: aiodocker.Docker
    address: str
    kind: Literal["docker", "podman"]
    api: str
    info: Mapping[str, Any]

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The names that `--runtime` takes."""
        return tuple(sorted(self.info.get("Runtimes") or {}))

    @property
    def volumes(self) -> Any:
        """aiodocker's volumes, whose methods have no types."""
        return self.docker.volumes

    @asynccontextmanager
    async def stream(
        self, path: str, *, method: str = "GET", params: Mapping[str, Any] | None = None, data: Any = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """A request whose body, or whose answer's, is a stream without an end in time.

        Raises:
            DaemonSays: it was refused, or the connection broke.
        """
        kind = "application/x-tar" if data is not None else "application/json"
        with told():
            async with self.docker._query(
                path,
                method,
                params=dict(params) if params is not None else None,
                data=data,
                headers={"Content-Type": kind},
                timeout=None,
            ) as response:
                try:
                    yield response
                finally:
                    # aiodocker leaves that to who asks; an answer without an end holds its connection otherwise.
                    response.close()


@contextmanager
def told() -> Iterator[None]:
    """What aiodocker and aiohttp raise, as `DaemonSays`."""
    import aiodocker
    import aiohttp

    try:
        yield
    except aiodocker.DockerError as error:
        raise DaemonSays(Answer(error.status, error.message)) from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise DaemonSays(Answer(NO_CONNECTION, str(error) or type(error).__name__)) from error
    except TimeoutError as error:
        raise DaemonSays(Answer(NO_CONNECTION, "it does not answer")) from error


def find_address(docker_host: str | None, runtime_dir: Path | None, home: Path) -> str:
    """Where the daemon listens.

    Args:
        docker_host: DOCKER_HOST; wins.
        runtime_dir: XDG_RUNTIME_DIR, where rootless daemons listen.
        home: the user's, where Docker Desktop listens.

    Raises:
        SandboxError: it is in none of the usual places.
    """
    if docker_host is not None:
        return docker_host
    private = () if runtime_dir is None else (runtime_dir / "docker.sock", runtime_dir / "podman" / "podman.sock")
    places = (
        Path("/var/run/docker.sock"),
        private and private[0],
        home / ".docker" / "run" / "docker.sock",
        private and private[1],
        Path("/run/podman/podman.sock"),
    )
    for place in places:
        if isinstance(place, Path) and _is_socket(place):
            return f"unix://{place}"
    raise SandboxError(
        "there is no container daemon: no socket at any of the usual places, and DOCKER_HOST is not set",
        cure="install and start Docker or Podman, or set DOCKER_HOST",
    )


def _is_socket(place: Path) -> bool:
    try:
        return stat.S_ISSOCK(place.stat().st_mode)
    except PermissionError:
        return True  # there, and not ours: connecting says it better
    except OSError:
        return False


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Engine]:
    """A connection, closed when the context is left.

    Args:
        address: such as `unix:///var/run/docker.sock` or `tcp://host:2375`.

    Raises:
        SandboxError: aiodocker is not installed, or no daemon that is new enough answers.
    """
    try:
        import aiodocker
        import aiohttp
    except ModuleNotFoundError:
        raise SandboxError("--runner container: aiodocker is not installed", cure=INSTALL) from None
    await asyncio.to_thread(_knock, address)
    limits = aiohttp.ClientTimeout(total=_QUICK_S)
    # Each running container holds a few connections open; 100 of them may run.
    connector: aiohttp.BaseConnector | None = None
    if address.startswith("unix://"):
        connector = aiohttp.UnixConnector(address.removeprefix("unix://"), limit=0)
    try:
        url = address if connector is None else "unix://localhost"
        docker = aiodocker.Docker(url=url, connector=connector, timeout=limits)
    except ValueError as error:
        raise SandboxError(
            f"DOCKER_HOST={address}: {error}", cure="write unix:///path, tcp://host:port or ssh://host"
        ) from None
    try:
        try:
            with told():
                version = await docker.version()
                info = await docker.system.info()
        except DaemonSays as says:
            raise SandboxError(
                f"{address}: no daemon answers ({says.answer.text})", cure="start it, or set DOCKER_HOST to another"
            ) from says
        yield _engine(docker, address, version, info)
    finally:
        await docker.close()
        if connector is not None:
            await connector.close()


def _engine(docker: aiodocker.Docker, address: str, version: Mapping[str, Any], info: Mapping[str, Any]) -> Engine:
    api = str(version.get("ApiVersion", "0.0"))
    if tuple(int(part) for part in api.split(".")) < MIN_API:
        raise SandboxError(
            f"{address}: the daemon is too old (API {api}, {version.get('Version')})",
            cure="use Docker 20.10 or newer, or Podman 4 or newer",
        )
    names = {str(part.get("Name", "")).lower() for part in version.get("Components") or ()}
    kind: Literal["docker", "podman"] = "podman" if any("podman" in name for name in names) else "docker"
    if info.get("OSType", "linux") != "linux":
        raise SandboxError(f"{address}: runs {info['OSType']} containers", cure="switch it to Linux containers")
    return Engine(docker=docker, address=address, kind=kind, api=api, info=info)


def _knock(address: str) -> None:
    """Connect once by hand: the kernel's own error tells a missing daemon from a missing permission."""
    if not address.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(10)
        try:
            door.connect(address.removeprefix("unix://"))
        except OSError as error:
            known = error if error.errno is not None else OSError(errno.ETIMEDOUT, "it does not answer")
            raise explain_connection(address, known) from error
