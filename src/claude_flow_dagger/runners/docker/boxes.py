"""Containers and their volumes as one thing: made, adopted, removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

from claude_flow_dagger.errors import SandboxError
from claude_flow_dagger.runners.docker.client import DaemonSays, Engine, told
from claude_flow_dagger.runners.docker.problems import NO_CONNECTION, explain_start
from claude_flow_dagger.runners.docker.spec import PURPOSE, RUN, Names

T = TypeVar("T")

_GONE: Final = (404,)
_BUSY: Final = 409
_ROUNDS: Final = 20
_PAUSE_S: Final = 0.25


async def find_box(engine: Engine, names: Names) -> str | None:
    """The id of a container that an earlier start of this sandbox has made and started; one that it hadn't is removed.

    Raises:
        SandboxError: something else has that name.
        DaemonSays: the daemon does not answer.
    """
    try:
        with told():
            shown = await engine.docker.containers.container(names.container).show()
    except DaemonSays as says:
        if says.answer.status in _GONE:
            return None
        raise
    labels = (shown.get("Config") or {}).get("Labels") or {}
    if (labels.get(RUN), labels.get(PURPOSE)) != (names.run_id, names.purpose):
        raise SandboxError(
            f"container {names.container}: the name is taken by something else", cure=f"docker rm {names.container}"
        )
    if shown["State"]["Status"] in ("created", "configured", "initialized"):
        # Nobody knows how much of its workspace had got in.
        await remove_box(engine, names)
        return None
    return str(shown["Id"])


async def make_box(engine: Engine, names: Names, config: dict[str, Any]) -> str:
    """Make the volumes and the container, which isn't started.

    Returns:
        The container's id.

    Raises:
        ClaudeFlowDaggerError: see `explain_start`.
    """
    try:
        for volume in (names.workspace, names.control):
            with told():
                await engine.volumes.create({"Name": volume, "Labels": names.labels})
        with told():
            made = await engine.docker.containers.create(config, name=names.container)
    except DaemonSays as says:
        raise explain_start(f"container {names.container}", says.answer) from says
    return made.id


async def remove_box(engine: Engine, names: Names) -> None:
    """Kill and remove a container and its volumes; what isn't there is fine.

    Raises:
        DaemonSays: the daemon does not do it.
    """
    await remove_container(engine, names.container)
    for volume in (names.workspace, names.control):
        await remove_volume(engine, volume)


async def remove_container(engine: Engine, name: str) -> None:
    """Kill and remove a container, whatever it is doing; one that isn't there is fine.

    Raises:
        DaemonSays: the daemon does not do it.
    """

    async def remove() -> None:
        await engine.docker.containers.container(name).delete(force=True, v=True)

    await _until_gone(remove)


async def remove_volume(engine: Engine, name: str) -> None:
    """Remove a volume; one that isn't there is fine.

    Raises:
        DaemonSays: the daemon does not do it.
    """

    async def remove() -> None:
        await (await engine.volumes.get(name)).delete()

    await _until_gone(remove)


async def _until_gone(remove: Callable[[], Awaitable[None]]) -> None:
    """Somebody else may be removing it right now, or a container may be a moment away from letting go of a volume."""
    for last in (*[False] * _ROUNDS, True):
        try:
            with told():
                await remove()
        except DaemonSays as says:
            if says.answer.status in _GONE:
                return
            if last or says.answer.status == NO_CONNECTION or says.answer.status not in (_BUSY, 500):
                raise
            await asyncio.sleep(_PAUSE_S)
        else:
            return


async def to_the_end(work: Coroutine[Any, Any, T]) -> tuple[T, bool]:
    """Await to the end, however often this task is cancelled meanwhile: the result, and whether it was."""
    task = asyncio.ensure_future(work)
    interrupted = False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            interrupted = True
        except Exception:
            break
    return task.result(), interrupted
