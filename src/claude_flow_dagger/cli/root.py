"""The group of all commands: two ways to be stopped get past typer, which would turn them into bare exit statuses."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class Interrupted(Exception):
    """A signal came while no run was there to be cancelled, or after it had ended."""


class ReaderGone(Exception):
    """Nobody reads our output any more, as behind `| head`."""


class Root(TyperGroup):
    """Commands whose interruptions reach `run_cli`."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for.

        Raises:
            Interrupted: instead of KeyboardInterrupt.
            ReaderGone: instead of BrokenPipeError.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as stopped:
            raise Interrupted from stopped
        except BrokenPipeError as broken:
            raise ReaderGone from broken
