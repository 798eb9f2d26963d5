"""Runs on this machine: in bubblewrap where it works, else, when the caller allows it, as plain processes."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from claude_flow_dagger.errors import OutOfSpace, RefusedInput, SandboxError, UnsafeRun
from claude_flow_dagger.plan import Layout
from claude_flow_dagger.result import Isolation, Notice, Outcome
from claude_flow_dagger.runners.base import Runner, Sandbox
from claude_flow_dagger.runners.bubblewrap import (
    CONTROL,
    DEPTH,
    SOCKET,
    Contents,
    Host,
    RuntimeMounts,
    bwrap_argv,
)
from claude_flow_dagger.runners.frames import Frame
from claude_flow_dagger.runners.host import Missing, find_host, probe, write_etc
from claude_flow_dagger.runners.mounts import check_mounts
from claude_flow_dagger.runners.supervise import Supervised, supervise

_LONGEST_SOCKET = 100
"""Bytes; the kernel takes 107."""


class RuntimePaths(Protocol):
    """Where the runtime is on this machine: each program, and the directory that it needs around it.

    `claude_flow_root` holds `node_modules`; mounted from further inside, Node would not find the packages.
    """

    @property
    def node_root(self) -> Path: ...
    @property
    def node(self) -> Path: ...
    @property
    def claude_flow_root(self) -> Path: ...
    @property
    def claude_flow(self) -> Path: ...
    @property
    def claude_root(self) -> Path | None: ...
    @property
    def claude(self) -> Path | None: ...
    @property
    def entrypoint(self) -> Path: ...


class LocalRunner(Runner):
    """Sandboxes on this machine.

    Args:
        runtime: Node, claude-flow, Claude Code and the entrypoint.
        allow_unsandboxed: run as plain processes where no sandbox works. Then neither files nor the network are fenced
            off; limits and the end of every process hold all the same.
        scratch: an existing directory for the moment in which a sandbox is tried out; its path is short.
        ca_bundle: the certificate authorities that the sandbox trusts; None: this machine's.
    """

    name = "local"

    def __init__(
        self, runtime: RuntimePaths, *, allow_unsandboxed: bool, scratch: Path, ca_bundle: Path | None = None
    ) -> None:
        self._runtime = runtime
        self._allow_unsandboxed = allow_unsandboxed
        self._scratch = scratch.absolute()
        self._ca_bundle = ca_bundle
        self._found: Host | Missing | None = None

    async def isolation(self) -> Isolation:
        """What holds a sandbox here, found out by starting one; asked once, then remembered."""
        found = self._host()
        if isinstance(found, Missing):
            return Isolation(
                runner=self.name, sandbox="none", network_cut=False, detail=f"{found.reason}; {found.cure}"
            )
        return Isolation(runner=self.name, sandbox="bubblewrap", network_cut=True)

    @property
    def missing(self) -> Notice | None:
        """Why there is no sandbox here, with the cure; None when there is one."""
        found = self._host()
        return (
            Notice(code="no_sandbox", message=f"{found.reason}; {found.cure}") if isinstance(found, Missing) else None
        )

    def layout(self, workspace: Path, control: Path) -> Layout:
        """Places inside the sandbox; without one, the real ones, with the home and temporary files in `control`."""
        if isinstance(self._host(), Host):
            return self._mounts().layout()
        runtime = self._runtime
        return Layout(
            workspace=str(workspace.resolve()),
            home=str(control.resolve() / "home"),
            tmp=str(control.resolve() / "tmp"),
            control=str(control.resolve()),
            node=str(runtime.node),
            claude_flow=str(runtime.claude_flow),
            claude=None if runtime.claude is None else str(runtime.claude),
            entrypoint=str(runtime.entrypoint),
        )

    async def run(self, sandbox: Sandbox, on_frame: Callable[[Frame], None]) -> Outcome:
        """Run a sandbox to its end. Nothing of it lives afterwards, whichever way this ends, cancellation included.

        Raises:
            UnsafeRun: no sandbox works here and plain processes were not allowed.
            RefusedInput: a mount or a protected path that cannot be given.
            OutOfSpace: the disk is full where `control` or the scratch directory is.
            SandboxError: the warden could not be started, or a path is too long for a socket.
        """
        host = self._host()
        if isinstance(host, Missing) and not self._allow_unsandboxed:
            raise UnsafeRun(f"no sandbox works here: {host.reason}", cure=f"{host.cure}; or --allow-unsandboxed")
        with self._parts(sandbox) as parts:
            if isinstance(host, Missing):
                command = self._plain(sandbox)
            else:
                command = self._sandboxed(host, sandbox, parts / "etc")
            limits = sandbox.limits
            supervised = Supervised(
                argv=tuple(command),
                depth=DEPTH if isinstance(host, Host) else 0,
                plain=isinstance(host, Missing),
                memory=limits.memory,
                pids=limits.pids,
                cpus=limits.cpus,
                wall_s=limits.wall,
                grace_s=sandbox.plan.grace_s,
                workspace=sandbox.workspace,
            )
            return await supervise(supervised, sandbox.cancelled, on_frame)

    def _host(self) -> Host | Missing:
        if self._found is None:
            found = find_host(self._ca_bundle)
            if isinstance(found, Host):
                with _temporary(self._scratch) as directory, _writing(directory):
                    found = probe(found, self._mounts(), directory)
            self._found = found
        return self._found

    def _mounts(self) -> RuntimeMounts:
        runtime = self._runtime
        claude = None
        if runtime.claude is not None and runtime.claude_root is not None:
            claude = runtime.claude.relative_to(runtime.claude_root)
        return RuntimeMounts(
            node_root=runtime.node_root,
            node=str(runtime.node.relative_to(runtime.node_root)),
            claude_flow_root=runtime.claude_flow_root,
            claude_flow=str(runtime.claude_flow.relative_to(runtime.claude_flow_root)),
            claude_root=None if claude is None else runtime.claude_root,
            claude=None if claude is None else str(claude),
            entrypoint=runtime.entrypoint,
        )

    @contextmanager
    def _parts(self, sandbox: Sandbox) -> Iterator[Path]:
        """The files that a sandbox starts from, gone when it is."""
        # Beside the control directory, so that whoever removes what a killed run left removes this too.
        with _temporary(sandbox.control.parent) as directory:
            with _writing(directory):
                write_etc(directory / "etc", sandbox.network)
            with _writing(sandbox.control):
                plan = sandbox.control / "plan.json"
                # Nobody else writes here, but a link left by an earlier sandbox must not be followed.
                plan.unlink(missing_ok=True)
                plan.touch(mode=0o600, exist_ok=False)
                plan.write_text(sandbox.plan.model_dump_json(), encoding="utf-8")
            yield directory

    def _plain(self, sandbox: Sandbox) -> list[str]:
        control = sandbox.control.resolve()
        if sandbox.gateway is not None:
            _check_socket(control / SOCKET)
            _check_socket(sandbox.gateway)
            link = control / SOCKET
            if link != sandbox.gateway:
                link.unlink(missing_ok=True)
                link.symlink_to(sandbox.gateway)
        return [str(self._runtime.node), str(self._runtime.entrypoint), str(control / "plan.json")]

    def _sandboxed(self, host: Host, sandbox: Sandbox, etc: Path) -> list[str]:
        mounts = self._mounts()
        layout = mounts.layout()
        workspace = sandbox.workspace.resolve()
        if sandbox.gateway is not None:
            _check_socket(sandbox.gateway)
        contents = Contents(
            etc=etc,
            workspace=workspace,
            control=sandbox.control.resolve(),
            gateway=sandbox.gateway,
            mounts=check_mounts(sandbox.mounts, Path.home()),
            protected=tuple(_protected(workspace, name) for name in sandbox.protected if (workspace / name).exists()),
        )
        command = (layout.node, layout.entrypoint, f"{CONTROL}/plan.json")
        return bwrap_argv(
            host, mounts, contents, network=sandbox.network, memory=sandbox.limits.memory, command=command
        )


def _protected(workspace: Path, name: str) -> str:
    path = workspace / name
    # A link would put something else than the workspace's own file in its place.
    if Path(name).is_absolute() or ".." in Path(name).parts or path.resolve() != path:
        raise RefusedInput(
            f"{name}: cannot be protected, since it is no plain path in the workspace",
            cure="run on a copy of the workspace, which is the default",
        )
    return name


def _check_socket(path: Path) -> None:
    if len(os.fsencode(path)) > _LONGEST_SOCKET:
        raise SandboxError(
            f"{path}: is too long for a socket's path (more than {_LONGEST_SOCKET} bytes)",
            cure="set TMPDIR to a directory with a shorter path",
        )


@contextmanager
def _temporary(scratch: Path) -> Iterator[Path]:
    with _writing(scratch):
        directory = Path(tempfile.mkdtemp(prefix="sandbox-", dir=scratch))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OutOfSpace(f"{directory}: the disk is full", cure="free some space, or set TMPDIR") from error
        raise SandboxError(
            f"{directory}: cannot be written: {error.strerror}",
            cure="check its owner and its mode, or set TMPDIR and XDG_CACHE_HOME to directories of your own",
        ) from error
