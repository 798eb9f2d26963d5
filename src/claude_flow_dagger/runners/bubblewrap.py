"""The command line of a bubblewrap sandbox. Pure: what this machine has comes in as a `Host`.

Mounts are an allow-list. Inside there is /usr, a synthesized /etc, the runtime, the workspace, a control directory, and
a home and temporary files in memory; nothing else of this machine. With `--ro-bind / /` a sandbox could read
/etc/shadow and write to docker.sock, which was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claude_flow_dagger.job import Network
from claude_flow_dagger.plan import Layout

UID: Final = 1001
"""User and group inside; outside, the files belong to whoever runs the CLI."""
RUNTIME: Final = "/opt/claude-flow-dagger"
WORKSPACE: Final = "/workspace"
CONTROL: Final = "/run/cfd"
HOME: Final = "/home/agent"
TMP: Final = "/tmp"  # noqa: S108 - a place inside the sandbox
CA_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
"""Where the CA bundle is inside, wherever this machine keeps its own."""
SOCKET: Final = "gateway.sock"
"""The gateway's socket in the control directory."""
DEPTH: Final = 2
"""Processes between the command below and the entrypoint: bubblewrap forks the namespace's first one, which forks."""


OPTIONAL: Final = frozenset({"--clearenv", "--perms", "--size", "--disable-userns"})
"""Options that older versions of bubblewrap lack. Without `--size` the kernel bounds what the sandbox keeps in memory
as files (half of the machine's, each); without `--clearenv` the environment is empty too, since the warden's is."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """What of this machine a sandbox is made of.

    Args:
        bwrap: bubblewrap.
        options: those of `OPTIONAL` that it knows.
        links: /bin, /lib and so on: the link's target, or None for a directory.
        alternatives: /etc/alternatives, where there is one.
        ca_bundle: the file behind the CA bundle, where there is one.
    """

    bwrap: Path
    options: frozenset[str] = frozenset()
    links: tuple[tuple[str, str | None], ...] = ()
    alternatives: Path | None = None
    ca_bundle: Path | None = None


@dataclass(frozen=True, kw_only=True)
class RuntimeMounts:
    """The runtime's directories on this machine and the paths of its programs in them.

    Args:
        node_root: Node's directory; `node` is relative to it. So for the others.
    """

    node_root: Path
    node: str
    claude_flow_root: Path
    claude_flow: str
    claude_root: Path | None
    claude: str | None
    entrypoint: Path

    def layout(self) -> Layout:
        """Where everything is inside."""
        return Layout(
            workspace=WORKSPACE,
            home=HOME,
            tmp=TMP,
            control=CONTROL,
            node=f"{RUNTIME}/node/{self.node}",
            claude_flow=f"{RUNTIME}/claude-flow/{self.claude_flow}",
            claude=None if self.claude is None else f"{RUNTIME}/claude/{self.claude}",
            entrypoint=f"{RUNTIME}/entrypoint.mjs",
        )


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What one sandbox sees of this machine, beside the host's and the runtime's part.

    Args:
        etc: a directory made by `host.write_etc`.
        workspace: seen at `WORKSPACE`, writable.
        control: seen at `CONTROL`, writable.
        gateway: the gateway's socket, seen in the control directory.
        mounts: (real path, place inside), read-only.
        protected: paths in the workspace that are seen read-only, relative to it.
    """

    etc: Path
    workspace: Path
    control: Path
    gateway: Path | None = None
    mounts: tuple[tuple[Path, Path], ...] = ()
    protected: tuple[str, ...] = ()


def bwrap_argv(
    host: Host, runtime: RuntimeMounts, contents: Contents, *, network: Network, memory: int, command: Sequence[str]
) -> list[str]:
    """The command line that runs `command` in a sandbox.

    Args:
        host: what this machine has.
        runtime: seen read-only under `RUNTIME`.
        contents: what else is seen.
        network: the host's network is kept only for `open`.
        memory: the run's memory limit in bytes. The home and the temporary files may take a quarter of it each, an
            eighth goes to shared memory; they come on top of what the warden counts, since no process holds them.
        command: with paths as seen inside.
    """
    return [
        str(host.bwrap),
        *_namespaces(host, network),
        *_system(host, contents.etc),
        *_devices(host, memory),
        *_runtime(runtime),
        *_memory(host, TMP, memory // 4, "1777"),
        *_memory(host, HOME, memory // 4, "0700"),
        *_run(contents),
        # Last: until now places to mount on had to be made.
        *("--remount-ro", "/"),
        *("--chdir", "/"),
        "--",
        *command,
    ]


def _namespaces(host: Host, network: Network) -> list[str]:
    wanted = ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    if network is not Network.OPEN:
        wanted.append("--unshare-net")
    wanted += [option for option in ("--disable-userns", "--clearenv") if option in host.options]
    return [
        *wanted,
        *("--uid", str(UID), "--gid", str(UID), "--hostname", "sandbox"),
        *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
    ]


def _system(host: Host, etc: Path) -> list[str]:
    argv = ["--ro-bind", "/usr", "/usr"]
    for place, target in host.links:
        argv += ["--ro-bind", place, place] if target is None else ["--symlink", target, place]
    argv += ["--ro-bind", str(etc), "/etc"]
    if host.alternatives is not None:
        argv += ["--ro-bind", str(host.alternatives), "/etc/alternatives"]
    if host.ca_bundle is not None:
        argv += ["--ro-bind", str(host.ca_bundle), CA_BUNDLE]
    return [*argv, "--proc", "/proc"]


def _devices(host: Host, memory: int) -> list[str]:
    # /dev itself is a writable tmpfs until it is remounted.
    return ["--dev", "/dev", *_memory(host, "/dev/shm", memory // 8, "1777"), "--remount-ro", "/dev"]  # noqa: S108


def _runtime(runtime: RuntimeMounts) -> list[str]:
    argv = ["--ro-bind", str(runtime.node_root), f"{RUNTIME}/node"]
    argv += ["--ro-bind", str(runtime.claude_flow_root), f"{RUNTIME}/claude-flow"]
    if runtime.claude_root is not None:
        argv += ["--ro-bind", str(runtime.claude_root), f"{RUNTIME}/claude"]
    return [*argv, "--ro-bind", str(runtime.entrypoint), f"{RUNTIME}/entrypoint.mjs"]


def _memory(host: Host, place: str, size: int, mode: str) -> list[str]:
    perms = ["--perms", mode] if "--perms" in host.options else []
    sized = ["--size", str(size)] if "--size" in host.options else []
    return [*perms, *sized, "--tmpfs", place]


def _run(contents: Contents) -> list[str]:
    argv: list[str] = []
    for source, place in contents.mounts:
        argv += ["--ro-bind", str(source), str(place)]
    argv += ["--bind", str(contents.workspace), WORKSPACE]
    for name in contents.protected:
        argv += ["--ro-bind", str(contents.workspace / name), f"{WORKSPACE}/{name}"]
    argv += ["--bind", str(contents.control), CONTROL]
    if contents.gateway is not None:
        argv += ["--bind", str(contents.gateway), f"{CONTROL}/{SOCKET}"]
    return argv
