"""What a sandbox's container is made of, as Docker's API takes it. Pure."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from claude_flow_dagger.job import Limits, Network
from claude_flow_dagger.plan import Plan
from claude_flow_dagger.runners.bubblewrap import CONTROL, HOME, SOCKET, TMP, UID, WORKSPACE
from claude_flow_dagger.runners.docker.image import LABEL, TINI, RuntimeImage

Kind = Literal["docker", "podman"]

RUN: Final = f"{LABEL}run"
PURPOSE: Final = f"{LABEL}purpose"
OWNER: Final = f"{LABEL}owner"
LEASE: Final = "/run/cfd-lease.sock"
"""The socket that a sandbox without a gateway holds its lease on. Nothing behind it answers."""
RELAY: Final = "/run/cfd-relay"
"""The relay's volume in a sandbox, read-only: what is behind its socket cannot be replaced from there."""
_RELAY_SOCKET: Final = "gateway.sock"
RELAYED: Final = posixpath.join(RELAY, _RELAY_SOCKET)
_ULIMIT: Final = 16384
_RELAY_MEMORY: Final = 128 * 1024**2
# Podman takes no owner, so the mode that the place has in the image must do (runc sets that, whatever is asked for).
_OWNED: Final[Mapping[str, str]] = {"docker": f"uid={UID},gid={UID},mode=0700", "podman": "mode=1777"}
GATEWAY: Final = posixpath.join(CONTROL, SOCKET)
_STOP_MARGIN_S: Final = 3
"""What the entrypoint gets on top of the plan's grace to say its last words."""


@dataclass(frozen=True)
class Names:
    """What the daemon calls the parts of one sandbox.

    Args:
        run_id: the run's.
        purpose: the sandbox's in it.
        owner: whose runs these are: one cache directory of one user of one machine. Others' are never touched.
    """

    run_id: str
    purpose: str
    owner: str

    @property
    def container(self) -> str:
        """The container's name."""
        return f"cfd-{self.run_id}-{self.purpose}"

    @property
    def workspace(self) -> str:
        """The volume of the workspace."""
        return f"{self.container}-workspace"

    @property
    def control(self) -> str:
        """The volume of the control directory."""
        return f"{self.container}-control"

    @property
    def relay(self) -> str:
        """The relay's container, and the volume with its socket."""
        return f"{self.container}-relay"

    @property
    def labels(self) -> dict[str, str]:
        """On the container and its volumes."""
        return {RUN: self.run_id, PURPOSE: self.purpose, OWNER: self.owner}


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What goes into one container.

    Args:
        socket: the gateway's or the lease's on this machine, and where it is inside; None: the relay's volume instead.
        mounts: (real path, place inside), read-only.
        runtime: the daemon's runtime, such as `runsc`; None for its default.
        volumes: with the workspace and the control directory; a probe does without.
        kind: whose daemon it is.
    """

    socket: tuple[Path, str] | None
    mounts: Sequence[tuple[Path, Path]] = ()
    runtime: str | None = None
    volumes: bool = True
    kind: Kind = "docker"


def leased(plan: Plan, socket: Path | None) -> tuple[Plan, str]:
    """A plan that ends by itself once this process is gone, and the place of the socket that it holds on to.

    Without a gateway there is a socket for the lease alone: a container has no parent that dies with us.
    """
    if socket is not None:
        return plan, GATEWAY
    return plan.model_copy(update={"gateway_socket": LEASE, "gateway_port": 0, "lease": True}), LEASE


def relayed(plan: Plan) -> Plan:
    """A leased plan whose socket is the relay's."""
    return plan.model_copy(update={"gateway_socket": RELAYED})


def stop_seconds(plan: Plan) -> int:
    """Seconds between a request to stop and the end by force."""
    return int(plan.grace_s) + 1 + _STOP_MARGIN_S


def container_config(
    image: RuntimeImage,
    names: Names,
    contents: Contents,
    *,
    command: Sequence[str],
    limits: Limits,
    network: Network,
    stop_s: int = 5,
) -> dict[str, Any]:
    """The body of a request to make a container.

    Args:
        image: what it starts from.
        names: what it is called.
        contents: what else goes in.
        command: runs under tini, with paths as seen inside.
        limits: memory, processors and processes. Memory includes what is kept in the temporary file systems.
        network: a network of the daemon's only for `open`.
        stop_s: seconds between a request to stop and the end by force.
    """
    return {
        "Image": image.id,
        "User": f"{UID}:{UID}",
        "WorkingDir": "/",
        "Hostname": "sandbox",
        "Entrypoint": [TINI, "--"],
        "Cmd": list(command),
        # Without "=" a variable of the image is taken out. The steps get the plan's environment and nothing else.
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", *sorted(image.environment.keys() - {"PATH"})],
        "Labels": names.labels,
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "StopTimeout": stop_s,
        "HostConfig": _host_config(names, contents, limits, network),
    }


def _ulimits(kind: Kind) -> list[dict[str, Any]]:
    """Open files: a daemon's own default may be a million, over which some programs loop.

    Podman 4.3's service asks for more than it may have where it lacks CAP_SYS_RESOURCE, unless it is told how many
    (seen); processes likewise. Those are counted for a user of the whole machine: the control group is what holds.
    """
    names = ("nofile",) if kind == "docker" else ("nofile", "nproc")
    return [{"Name": name, "Soft": _ULIMIT, "Hard": _ULIMIT} for name in names]


def relay_config(image: RuntimeImage, names: Names, command: Sequence[str], kind: Kind) -> dict[str, Any]:
    """The body of a request to make the relay's container: it has a volume, no network, and what is attached to it.

    Args:
        image: with Node.
        names: of the sandbox.
        command: gets the socket's path as its last argument.
        kind: whose daemon it is.
    """
    return {
        "Image": image.id,
        "User": f"{UID}:{UID}",
        "WorkingDir": "/",
        "Entrypoint": [TINI, "--"],
        "Cmd": [*command, "--", posixpath.join(CONTROL, _RELAY_SOCKET)],
        "Env": ["PATH=/usr/local/bin:/usr/bin:/bin", *sorted(image.environment.keys() - {"PATH"})],
        "Labels": names.labels,
        "Healthcheck": {"Test": ["NONE"]},
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Memory": _RELAY_MEMORY,
            "MemorySwap": _RELAY_MEMORY,
            "PidsLimit": 64,
            "Ulimits": _ulimits(kind),
            "Mounts": [_volume(names.relay, CONTROL)],
            # What it carries is nobody's to read afterwards.
            "LogConfig": {"Type": "none", "Config": {}},
            "RestartPolicy": {"Name": "no"},
        },
    }


def _host_config(names: Names, contents: Contents, limits: Limits, network: Network) -> dict[str, Any]:
    memory = limits.memory
    if contents.socket is None:
        socket = {"Type": "volume", "Source": names.relay, "Target": RELAY, "ReadOnly": True}
    else:
        source, place = contents.socket
        socket = {"Type": "bind", "Source": str(source), "Target": place, "ReadOnly": False}
    volumes = (_volume(names.workspace, WORKSPACE), _volume(names.control, CONTROL)) if contents.volumes else ()
    config: dict[str, Any] = {
        "NetworkMode": "default" if network is Network.OPEN else "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "Init": False,
        "IpcMode": "private",
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": int(limits.cpus * 1e9),
        "PidsLimit": limits.pids,
        "ShmSize": memory // 8,
        "Ulimits": _ulimits(contents.kind),
        # Programs are run from both: compilers' tests from one, a shim's or a tool's own from the other.
        "Tmpfs": {
            TMP: f"rw,exec,nosuid,nodev,size={memory // 4},mode=1777",
            HOME: f"rw,exec,nosuid,nodev,size={memory // 4},{_OWNED[contents.kind]}",
        },
        "Mounts": [
            *volumes,
            socket,
            *(
                {"Type": "bind", "Source": str(real), "Target": str(target), "ReadOnly": True}
                for real, target in contents.mounts
            ),
        ],
        # The output must be there for a second start to read, and must not fill the daemon's disk.
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "512m"}},
        "RestartPolicy": {"Name": "no"},
    }
    if contents.runtime is not None:
        config["Runtime"] = contents.runtime
    return config


def _volume(name: str, place: str) -> dict[str, Any]:
    # A new volume takes over the owner and the mode of the image's own directory: an archive cannot set them (Docker
    # 20.10 leaves an archive's "." alone).
    return {"Type": "volume", "Source": name, "Target": place}
