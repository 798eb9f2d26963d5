"""The runtime, installed when it is missing, with progress."""

from __future__ import annotations

from claude_flow_dagger.cli.show import View
from claude_flow_dagger.config import Settings
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runtime.install import Progress, Runtime, install


def ensure_runtime(settings: Settings, pins: Pins, *, with_claude: bool, view: View) -> Runtime:
    """The pinned runtime; a first use installs it, which takes a minute or so.

    Args:
        settings: name the cache and the way to the registries.
        pins: the versions.
        with_claude: Claude Code too.
        view: is told how far it is.

    Raises:
        RuntimeInstallError: it cannot be installed.
        OutOfSpace: the disk is full.
    """
    told: dict[str, str] = {}

    def on_progress(progress: Progress) -> None:
        new = told.get(progress.tree) != progress.step
        told[progress.tree] = progress.step
        numbers = (float(progress.done), float(progress.total)) if progress.total and not new else (None, None)
        view.progress(f"{progress.tree}: {progress.step}", *numbers)

    return install(
        settings.cache,
        pins,
        with_claude=with_claude,
        environ=settings.install_environment,
        on_progress=on_progress,
    )
