"""Runs in containers of a Docker or Podman daemon.

The workspace goes into a volume and comes back out of it as a tar stream, so that nothing of this machine but the
gateway's socket and the paths of `--mount` is in reach, and the container's files never belong to anybody here. Where
the daemon does not share this machine's file system, the socket is carried to it by a relay.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from claude_flow_dagger.errors import RefusedInput, UnsafeRun
from claude_flow_dagger.job import Limits, Network
from claude_flow_dagger.plan import Layout
from claude_flow_dagger.result import Ending, Isolation, Outcome
from claude_flow_dagger.runners.base import Runner, Sandbox
from claude_flow_dagger.runners.bubblewrap import CONTROL, WORKSPACE
from claude_flow_dagger.runners.docker.boxes import find_box, make_box, remove_box, remove_container, to_the_end
from claude_flow_dagger.runners.docker.client import DaemonSays, Engine, told
from claude_flow_dagger.runners.docker.image import RuntimeImage
from claude_flow_dagger.runners.docker.lease import lease, open_socket
from claude_flow_dagger.runners.docker.pack import pack_directory, pack_file
from claude_flow_dagger.runners.docker.probe import PROBE, PROBE_MEMORY, PROBE_S, SCRIPT, judge_probe, missing_limits
from claude_flow_dagger.runners.docker.problems import NotHere, explain_start
from claude_flow_dagger.runners.docker.relay import relay
from claude_flow_dagger.runners.docker.spec import (
    LEASE,
    RELAYED,
    Contents,
    Names,
    container_config,
    leased,
    relayed,
    stop_seconds,
)
from claude_flow_dagger.runners.docker.transfer import fetch, send
from claude_flow_dagger.runners.docker.unpack import mirror
from claude_flow_dagger.runners.docker.watch import Watch, seconds_since
from claude_flow_dagger.runners.frames import Exited, Frame
from claude_flow_dagger.runners.mounts import check_mounts

T = TypeVar("T")

_FULL: Final = 1 << 20
"""Free bytes below which a disk counts as full."""


class ContainerRunner(Runner):
    """Sandboxes that are containers.

    Args:
        engine: the connected daemon; the caller closes it.
        image: with the runtime in its place.
        owner: marks what is made here, so that what a kill leaves is found and nobody else's is touched.
        temp: an existing directory with a short path, for sockets.
        runtime: the daemon's runtime, such as `runsc`; None for its default.
    """

    name = "container"

    def __init__(
        self, engine: Engine, image: RuntimeImage, *, owner: str, temp: Path, runtime: str | None = None
    ) -> None:
        self._engine = engine
        self._image = image
        self._owner = owner
        self._temp = temp
        self._runtime = runtime
        # Until a probe tells better: a daemon behind a port is on another machine.
        self._relayed = not engine.address.startswith("unix://")

    async def isolation(self) -> Isolation:
        """What holds a sandbox here, seen from inside one that is started for it.

        Raises:
            UnsafeRun: the daemon has no such runtime, or what it starts is not fenced in.
            SandboxError: it cannot start one, or one cannot reach this machine's sockets.
        """
        engine = self._engine
        if self._runtime is not None and engine.runtimes and self._runtime not in engine.runtimes:
            raise UnsafeRun(
                f"--runtime {self._runtime}: the daemon at {engine.address} has no such runtime",
                cure=f"name one that it has: {', '.join(engine.runtimes)}",
            )
        try:
            held = judge_probe(await self._probe(), engine.address)
        except NotHere:
            if self._relayed:
                raise
            # In a virtual machine, or beside a container that this runs in.
            self._relayed = True
            held = judge_probe(await self._probe(), engine.address)
        detail = "; ".join(filter(None, (held.detail, missing_limits(engine.info))))
        return Isolation(runner=self.name, sandbox=engine.kind, network_cut=held.network_cut, detail=detail)

    def layout(self, workspace: Path, control: Path) -> Layout:
        """Places in the image; this machine's paths play no part."""
        del workspace, control
        return self._image.layout()

    async def run(self, sandbox: Sandbox, on_frame: Callable[[Frame], None]) -> Outcome:
        """Run a sandbox to its end; its workspace is what the container left, and nothing of the container is.

        A second start with the same run id and purpose takes over the container that the first one started, and hears
        all that it has said.

        Raises:
            RefusedInput: a mount that cannot be given.
            UnsafeRun: the daemon does not know the runtime.
            OutOfSpace: a disk is full, the daemon's or this machine's.
            SandboxError: it could not be started, or the daemon went away.
        """
        names = Names(sandbox.run_id, sandbox.purpose, self._owner)
        mounts = check_mounts(sandbox.mounts, Path.home())
        if mounts and self._relayed:
            raise RefusedInput(
                f"mount {mounts[0][1]}: the daemon at {self._engine.address} does not see this machine's files",
                cure="copy it into the workspace, or into an image (--image)",
            )
        async with AsyncExitStack() as stack:
            socket = sandbox.gateway
            plan, place = leased(sandbox.plan, sandbox.gateway)
            if socket is None:
                socket = await stack.enter_async_context(lease(sandbox.control / "lease.sock"))
            elif not self._relayed:
                open_socket(socket)
            offered = await self._offer(stack, names, socket, place)
            plan = relayed(plan) if offered is None else plan
            contents = Contents(socket=offered, mounts=mounts, runtime=self._runtime, kind=self._engine.kind)
            try:
                return await self._run(replace(sandbox, plan=plan), on_frame, names, contents)
            except DaemonSays as says:
                raise explain_start(f"container {names.container}", says.answer) from says
            finally:
                await self._clean_up(names)

    async def _offer(self, stack: AsyncExitStack, names: Names, socket: Path, place: str) -> tuple[Path, str] | None:
        """The socket as a container gets it: bound to its place or, where it can't be, None and a relay that runs."""
        if not self._relayed:
            return socket, place
        await stack.enter_async_context(relay(self._engine, self._image, names, socket))
        return None

    async def _run(
        self, sandbox: Sandbox, on_frame: Callable[[Frame], None], names: Names, contents: Contents
    ) -> Outcome:
        container = await find_box(self._engine, names)
        if container is None:
            container = await _unless(sandbox.cancelled, self._start(sandbox, names, contents))
            if container is None:
                return Outcome(ending=Ending.CANCELLED, detail="cancelled")
        watch = Watch(self._engine, container, on_frame, stop_seconds(sandbox.plan))
        gone = seconds_since(str((await watch.state()).get("StartedAt", "")))
        asked = await watch.until_end(sandbox.limits.wall - gone, sandbox.cancelled)
        state = await watch.state()
        why = "" if watch.exited is not None else await watch.last_words()
        full = await self._is_full(names.workspace)
        outcome = _outcome(watch, asked, state, sandbox.limits, why, full=full)
        if watch.spoke:
            unpack = partial(mirror, target=sandbox.workspace, protected=sandbox.protected)
            await fetch(self._engine, container, WORKSPACE, unpack)
        return outcome

    async def _start(self, sandbox: Sandbox, names: Names, contents: Contents) -> str:
        plan = sandbox.plan
        layout = self._image.layout()
        config = container_config(
            self._image,
            names,
            contents,
            command=(layout.node, layout.entrypoint, f"{CONTROL}/plan.json"),
            limits=sandbox.limits,
            network=sandbox.network,
            stop_s=stop_seconds(plan),
        )
        container = await make_box(self._engine, names, config)
        data = plan.model_dump_json().encode()
        await send(self._engine, container, CONTROL, partial(pack_file, "plan.json", data))
        await send(self._engine, container, WORKSPACE, partial(pack_directory, sandbox.workspace))
        with told():
            await self._engine.docker.containers.container(container).start()
        return container

    async def _clean_up(self, names: Names) -> None:
        try:
            _, interrupted = await to_the_end(remove_box(self._engine, names))
        except DaemonSays:
            # It is gone, which whoever is on the way out says already; the next start finds what is left.
            return
        if interrupted:
            raise asyncio.CancelledError

    async def _is_full(self, volume: str) -> bool:
        """Whether the disk of the daemon's volumes is full, as far as it can be seen from here."""
        try:
            with told():
                place = (await (await self._engine.volumes.get(volume)).show())["Mountpoint"]
            return shutil.disk_usage(place).free < _FULL
        except (DaemonSays, OSError, KeyError):
            return False

    async def _probe(self) -> str:
        """What a script says that looks at a sandbox from inside."""
        names = Names(f"{PROBE}-{os.getpid()}-{secrets.token_hex(6)}", "probe", self._owner)
        directory = Path(tempfile.mkdtemp(prefix="cfd-", dir=self._temp))
        said: list[str] = []
        try:
            async with AsyncExitStack() as stack:
                socket = await stack.enter_async_context(lease(directory / "lease.sock"))
                offered = await self._offer(stack, names, socket, LEASE)
                contents = Contents(socket=offered, runtime=self._runtime, volumes=False, kind=self._engine.kind)
                config = container_config(
                    self._image,
                    names,
                    contents,
                    command=(self._image.layout().node, "-e", SCRIPT, "--", offered[1] if offered else RELAYED),
                    limits=Limits(memory=PROBE_MEMORY, cpus=min(1.0, float(os.cpu_count() or 1)), pids=64),
                    network=Network.NONE,
                )
                try:
                    with told():
                        made = await self._engine.docker.containers.create(config, name=names.container)
                        await made.start()
                    watch = Watch(self._engine, made.id, lambda frame: said.append(_text(frame)), stop_s=1)
                    await watch.until_end(PROBE_S, asyncio.Event())
                    return "".join(said) or await watch.last_words()
                except DaemonSays as says:
                    raise explain_start(f"image {self._image.name}", says.answer) from says
                finally:
                    await to_the_end(remove_container(self._engine, names.container))
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _text(frame: Frame) -> str:
    """The probe is no entrypoint: what it says is noise to who expects frames."""
    return getattr(frame, "text", "")


async def _unless(cancelled: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The work's result, or None when it was cancelled before it was done."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(cancelled.wait())
    both: set[asyncio.Future[Any]] = {task, stopping}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in both:
            one.cancel()
        await asyncio.gather(*both, return_exceptions=True)


def _outcome(
    watch: Watch, asked: Ending | None, state: dict[str, Any], limits: Limits, last_words: str, *, full: bool
) -> Outcome:
    """The daemon's account, this side's own doings and the entrypoint's last word, as one ending."""
    code = int(state.get("ExitCode") or 0)
    said = "; ".join(filter(None, (last_words, str(state.get("Error") or ""))))
    why = f": {said}" if said else ""
    peak = watch.used.memory
    last = watch.exited or Exited(code)
    starved = asked is Ending.OUT_OF_MEMORY or bool(state.get("OOMKilled")) or last.starved > 0
    table = (
        (asked is Ending.CANCELLED, Ending.CANCELLED, "cancelled"),
        (asked is Ending.TIMED_OUT, Ending.TIMED_OUT, f"its {limits.wall:g} s of wall time are over"),
        (starved, Ending.OUT_OF_MEMORY, f"used more than {limits.memory / 1024**2:.0f} MiB of memory"),
        (
            code != 0 and last.refused > 0,
            Ending.TOO_MANY_PROCESSES,
            f"more than {limits.pids} processes and threads",
        ),
        (code != 0 and full, Ending.OUT_OF_SPACE, "the daemon's disk is full"),
        (not watch.spoke, Ending.BROKEN, f"the sandbox did not start (exit status {code}){why}"),
        (watch.exited is None, Ending.BROKEN, f"the entrypoint ended without a word (exit status {code}){why}"),
    )
    for hit, ending, detail in table:
        if hit:
            return Outcome(ending=ending, detail=detail, peak_memory=peak)
    return Outcome(ending=Ending.EXITED, exit_code=code, peak_memory=peak)
