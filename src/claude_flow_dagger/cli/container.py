"""`--runner container`: the daemon, the image, and what earlier runs left there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from claude_flow_dagger.cli.show import View
from claude_flow_dagger.config import Settings
from claude_flow_dagger.errors import InvalidJob, SandboxError
from claude_flow_dagger.execution.scratch import living_runs
from claude_flow_dagger.image.spec import check_reference
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runners.container import ContainerRunner
from claude_flow_dagger.runners.docker.client import DaemonSays, Engine, connect, find_address
from claude_flow_dagger.runners.docker.image import default_image, ensure_image, has_runtime, local_runtime_image
from claude_flow_dagger.runners.docker.prune import owner_of, prune_leftovers


@dataclass(frozen=True, kw_only=True)
class ContainerOptions:
    """What a command line says about containers.

    Args:
        image: the user's own image, which the runtime is laid onto; or one that has it already.
        setup: a shell command that prepares the image, as root and with network; its result is kept.
        runtime: the daemon's runtime, such as `runsc`.
    """

    image: str | None = None
    setup: str | None = None
    runtime: str | None = None

    def refuse_elsewhere(self, runner: str) -> None:
        """Refuse these options with a runner that would ignore them.

        Raises:
            InvalidJob: one was given.
        """
        given = (("--image", self.image), ("--setup", self.setup), ("--runtime", self.runtime))
        named = [option for option, value in given if value is not None]
        if named:
            raise InvalidJob(
                f"{named[0]}: the runner {runner} starts no containers of images", cure="add --runner container"
            )


def prepare_image(settings: Settings, options: ContainerOptions, pins: Pins, view: View) -> str:
    """The name of an image that has the runtime, made where that is asked for.

    Args:
        settings: say where the daemon listens.
        options: what was asked for.
        pins: the versions.
        view: is told how far it is; a first layering takes a minute.

    Raises:
        RefusedInput: there is no such image.
        InfrastructureError: no daemon, or the image could not be made.
    """
    ours = default_image(pins)
    if options.image is None and options.setup is None:
        return ours
    image = check_reference(options.image) if options.image is not None else ours
    address = address_of(settings)
    if asyncio.run(_is_ready(address, image)) and options.setup is None:
        return image
    from claude_flow_dagger.image.build import layer
    from claude_flow_dagger.image.engine import find_engine

    # The same daemon as the run's; docker's client can build with docker's daemon only.
    client = find_engine({**os.environ, "DOCKER_HOST": address}, named="podman" if "podman" in address else None)
    built = layer(
        client,
        image,
        runtime=ours,
        setup=options.setup,
        ca=settings.ca_bundle,
        on_step=view.progress,
    )
    return built.reference


async def _is_ready(address: str, image: str) -> bool:
    async with connect(address) as engine:
        await ensure_image(engine, image)
        return await has_runtime(engine, image)


def address_of(settings: Settings) -> str:
    """Where the daemon listens.

    Raises:
        SandboxError: there is none.
    """
    return find_address(settings.docker_host, settings.runtime_directory, settings.home)


@asynccontextmanager
async def container_runner(
    settings: Settings, options: ContainerOptions, image: str, pins: Pins
) -> AsyncIterator[tuple[ContainerRunner, dict[str, str]]]:
    """A runner with its daemon, and the versions in its image; what killed runs left there is removed first.

    Args:
        settings: say where the daemon listens and where runs live.
        options: what was asked for.
        image: has the runtime.
        pins: what the job is pinned to.

    Raises:
        RefusedInput: the image has no runtime, or another one.
        SandboxError: no daemon, or not the image.
    """
    async with connect(address_of(settings)) as engine:
        found = await local_runtime_image(engine, image, pins)
        await sweep(engine, settings)
        runner = ContainerRunner(
            engine, found, owner=owner_of(settings.cache), temp=settings.temp, runtime=options.runtime
        )
        yield runner, dict(found.versions)


async def sweep(engine: Engine, settings: Settings) -> list[str]:
    """Remove the containers and volumes of runs that were killed.

    Returns:
        The names of what was removed.

    Raises:
        SandboxError: the daemon does not answer.
    """
    try:
        return await prune_leftovers(engine, owner_of(settings.cache), lambda: living_runs(settings.cache))
    except DaemonSays as says:
        raise SandboxError(f"{engine.address}: what killed runs left could not be removed: {says}") from says


@dataclass(frozen=True)
class DaemonState:
    """A daemon in words, and what it lacks."""

    message: str
    cure: str | None = None


async def describe_daemon(address: str, image: str) -> DaemonState:
    """Which daemon answers, and whether it has an image of ours.

    Raises:
        SandboxError: none answers.
    """
    async with connect(address) as engine:
        name = f"{engine.kind} at {address}, {engine.info.get('NCPU', '?')} processors"
        if await has_runtime(engine, image):
            return DaemonState(f"{name}; {image} is there")
        return DaemonState(
            f"{name}; {image} is not there", "claude-flow-dagger image build --target agent; for --runner container"
        )


def sweep_daemon(settings: Settings) -> list[str]:
    """`sweep` from outside of an event loop; nothing where no daemon is to be found.

    Raises:
        SandboxError: there is one, and it does not answer.
    """
    try:
        address = address_of(settings)
    except SandboxError:
        return []

    async def connected() -> list[str]:
        async with connect(address) as engine:
            return await sweep(engine, settings)

    return asyncio.run(connected())
