"""`doctor`: what works on this machine, what doesn't, and the cure."""

from __future__ import annotations

import asyncio
import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from claude_flow_dagger import __version__
from claude_flow_dagger.cli.container import address_of, describe_daemon
from claude_flow_dagger.cli.options import Output, OutputOption
from claude_flow_dagger.config import Settings, take_settings
from claude_flow_dagger.errors import ClaudeFlowDaggerError, SandboxError
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runners.docker.image import default_image
from claude_flow_dagger.runners.local import LocalRunner
from claude_flow_dagger.runtime.install import find, verify

FREE_BYTES = 2 * 1024**3


class Health(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    """It works with less."""
    PROBLEM = "problem"
    """Agent runs will be refused or fail."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    health: Health
    message: str
    cure: str | None = None


def doctor(
    full: Annotated[bool, typer.Option("--full", help="Also hash every file of the runtime.")] = False,
    output: OutputOption = Output.TEXT,
) -> int:
    """Look at what runs need: Python, the runtime, a sandbox, a key, disk space. Exit 1 when something is a problem."""
    settings = take_settings()
    checks = list(examine(settings, full=full))
    if output is Output.TEXT:
        _show(checks)
    else:
        print(json.dumps({"version": __version__, "checks": [asdict(check) for check in checks]}))
    return 1 if any(check.health is Health.PROBLEM for check in checks) else 0


def examine(settings: Settings, *, full: bool) -> Iterator[Check]:
    """Every check, in the order in which a run needs them.

    Args:
        settings: of this process.
        full: hash the runtime's files too.
    """
    version = platform.python_version()
    yield Check("python", Health.OK, f"{version} on {sys.platform} {platform.machine()}")
    yield _space(settings.cache)
    yield from _runtime(settings, full=full)
    yield _containers(settings)
    yield _key(settings)


def _space(cache: Path) -> Check:
    place = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(place).free
    message = f"{free / 1024**3:.1f} GiB free in {place}"
    if free < FREE_BYTES:
        return Check("disk", Health.WARNING, message, "the runtime takes 0.5 GiB, and every run a copy of its source")
    return Check("disk", Health.OK, message)


def _runtime(settings: Settings, *, full: bool) -> Iterator[Check]:
    try:
        runtime = find(settings.cache, Pins(), with_claude=True)
        if runtime is not None and full:
            verify(runtime)
    except ClaudeFlowDaggerError as error:
        yield Check("runtime", Health.PROBLEM, error.message, error.cure)
        return
    if runtime is None:
        cure = "claude-flow-dagger runtime install; the first run does it too"
        yield Check("runtime", Health.WARNING, f"not installed in {settings.cache}", cure)
        return
    yield Check("runtime", Health.OK, ", ".join(f"{name} {version}" for name, version in runtime.versions.items()))
    with tempfile.TemporaryDirectory(prefix="cfd-", dir=settings.temp) as scratch:
        runner = LocalRunner(runtime, allow_unsandboxed=True, scratch=Path(scratch), ca_bundle=settings.ca_bundle)
        isolation = asyncio.run(runner.isolation())
    if isolation.sandbox == "none":
        cure = "apt-get install bubblewrap; without it runs with a real key are refused"
        yield Check("sandbox", Health.PROBLEM, f"none works here: {isolation.detail}", cure)
    else:
        yield Check("sandbox", Health.OK, f"{isolation.sandbox}, network cut off: tried just now")


def _containers(settings: Settings) -> Check:
    """Only `--runner container` needs one, so nothing here is a problem."""
    try:
        address = address_of(settings)
        said = asyncio.run(describe_daemon(address, default_image(Pins())))
    except SandboxError as error:
        return Check("containers", Health.WARNING, error.message, f"{error.cure}; only --runner container needs it")
    return Check("containers", Health.WARNING if said.cure else Health.OK, said.message, said.cure)


def _key(settings: Settings) -> Check:
    found = settings.api_key or settings.oauth_token or settings.auth_token
    if found is None:
        cure = "set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN; --model-script needs none"
        return Check("key", Health.WARNING, "no credential in the environment", cure)
    where = settings.model_url or "Anthropic"
    return Check("key", Health.OK, f"a credential for {where} (not tried: that would cost)")


_STYLES = {Health.OK: "green", Health.WARNING: "yellow", Health.PROBLEM: "red"}


def _show(checks: list[Check]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        line = Text()
        line.append(f"{check.health.value:>8}", style=_STYLES[check.health])
        line.append(f"  {check.name}: {check.message}")
        console.print(line)
        if check.cure is not None and check.health is not Health.OK:
            console.print(Text(f"          cure: {check.cure}"))
