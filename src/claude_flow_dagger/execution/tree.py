"""The directory that a run works in: brought in, compared, handed back."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import ApplyConflict, InvalidSource
from claude_flow_dagger.events import EventType
from claude_flow_dagger.execution.reporter import Reporter
from claude_flow_dagger.execution.request import DIRECTORIES_OF_STATE, STATE_PATHS, Request
from claude_flow_dagger.execution.scratch import Scratch
from claude_flow_dagger.workspace.apply import apply
from claude_flow_dagger.workspace.copy import copy_tree
from claude_flow_dagger.workspace.names import shown
from claude_flow_dagger.workspace.patch import Patch
from claude_flow_dagger.workspace.remove import remove_tree
from claude_flow_dagger.workspace.snapshot import Snapshots
from claude_flow_dagger.workspace.state import state_in, state_out
from claude_flow_dagger.workspace.tree import Tree

INSTRUCTIONS: Final = "CLAUDE.md"
MAX_INSTRUCTIONS: Final = 200_000


class Stopped(Exception):
    """The run was cancelled while its workspace was brought in."""


@dataclass(frozen=True)
class Prepared:
    """A workspace that is ready, and the snapshot of how it was.

    Args:
        workspace: the copy, or the source itself for a run in place.
        before: what it held.
        protected: what the sandbox may not write: the `.git` of a run in place, since hooks planted there would run
            later, outside of any sandbox.
        has_memory: claude-flow's memory is there already.
        instructions: the text of its CLAUDE.md.
    """

    workspace: Path
    source: Path | None
    before: Tree
    snapshots: Snapshots
    scratch: Scratch
    reporter: Reporter
    request: Request
    foreign_state: tuple[str, ...]
    protected: tuple[str, ...] = ()
    has_memory: bool = False
    instructions: str | None = None

    async def compare(self) -> tuple[Tree, Patch]:
        """What the workspace holds now, and the patch that leads there."""
        after = await asyncio.to_thread(self.snapshots.take, self.workspace, baseline=self.before)
        patch = await asyncio.to_thread(self.snapshots.diff, self.before, after)
        for notice in after.notices:
            self.reporter.notice(notice.code, notice.message)
        return after, patch

    async def hand_out_state(self) -> None:
        """claude-flow's state goes to the directory that was asked for."""
        if self.request.state is not None:
            await asyncio.to_thread(state_out, self.workspace, DIRECTORIES_OF_STATE, self.request.state)

    async def clean_up(self) -> None:
        """Remove the state that a run in place has brought into the user's directory."""
        if self.request.in_place:
            for path in STATE_PATHS:
                if path not in self.foreign_state:
                    await asyncio.to_thread(remove_tree, self.workspace / path)

    async def copy_of_result(self) -> Path:
        """A copy of the result for the proof: whatever that writes stays out of the patch."""
        target = self.scratch.root / "verify"
        await asyncio.to_thread(copy_tree, self.workspace, target)
        return target

    async def apply(self, after: Tree) -> None:
        """Write the changes to the source.

        Raises:
            ApplyConflict: the source has changed meanwhile; nothing was written.
        """
        if self.source is None or self.request.in_place:
            return
        changed = await asyncio.to_thread(self.snapshots.differences, self.source, self.before)
        if changed:
            names = ", ".join(shown(path) for path in changed[:5])
            raise ApplyConflict(
                f"{self.source} has changed since the run began ({names}); nothing was written",
                cure="look at the patch, and apply it with git apply --3way",
            )
        await asyncio.to_thread(apply, self.source, self.before, after, self.snapshots)


def check_source(source: Path) -> None:
    """Refuse a source that is no directory, before anything is installed or copied.

    Raises:
        InvalidSource: it is missing, or something else.
    """
    if not source.exists():
        raise InvalidSource(f"{source}: no such directory", cure="check the path; it is relative to where you are")
    if not source.is_dir():
        raise InvalidSource(f"{source}: is not a directory", cure="name the directory that the agents shall work on")


async def prepare_tree(request: Request, scratch: Scratch, reporter: Reporter) -> Prepared:
    """Bring in the workspace.

    Raises:
        InvalidSource: the directory is missing, unreadable or too large.
        OutOfSpace: there is no room for a copy.
        Stopped: the run was cancelled meanwhile.
    """
    workspace = await _bring_in(request, scratch, reporter)
    foreign = tuple(path for path in STATE_PATHS if (workspace / path).exists())
    if request.state is not None and request.state.is_dir():
        await asyncio.to_thread(state_in, request.state, workspace, DIRECTORIES_OF_STATE)
    snapshots = Snapshots(scratch.objects, excluded=STATE_PATHS)
    before = await asyncio.to_thread(snapshots.take, workspace)
    for notice in before.notices:
        reporter.notice(notice.code, notice.message)
    return Prepared(
        workspace=workspace,
        source=request.source,
        before=before,
        snapshots=snapshots,
        scratch=scratch,
        reporter=reporter,
        request=request,
        foreign_state=foreign,
        protected=(".git",) if request.in_place and (workspace / ".git").exists() else (),
        has_memory=(workspace / ".swarm" / "memory.db").is_file(),
        instructions=read_instructions(workspace),
    )


async def _bring_in(request: Request, scratch: Scratch, reporter: Reporter) -> Path:
    if request.in_place and request.source is not None:
        return request.source.resolve()
    if request.source is None:
        scratch.workspace.mkdir(mode=0o755)
        return scratch.workspace
    reporter.emit(EventType.PROGRESS, f"copying {request.source}")

    def stop_if_cancelled(_entries: int, _bytes: int) -> None:
        if request.cancelled.is_set():
            raise Stopped

    report = await asyncio.to_thread(copy_tree, request.source, scratch.workspace, on_progress=stop_if_cancelled)
    for notice in report.notices:
        reporter.notice(notice.code, notice.message)
    return scratch.workspace


def read_instructions(workspace: Path) -> str | None:
    """The text of the workspace's CLAUDE.md, if it is a plain file; never through a symlink."""
    path = workspace / INSTRUCTIONS
    if path.is_symlink() or not path.is_file():
        return None
    text = path.read_bytes()[:MAX_INSTRUCTIONS].decode("utf-8", "replace").replace("\0", "")
    return text.strip() or None
