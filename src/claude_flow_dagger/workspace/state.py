"""claude-flow's own directories, carried into a workspace and out of it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from claude_flow_dagger.workspace.copy import Copier
from claude_flow_dagger.workspace.fds import directory, root_directory
from claude_flow_dagger.workspace.gitdir import Room
from claude_flow_dagger.workspace.remove import remove_entry
from claude_flow_dagger.workspace.report import CopyLimits, CopyReport

_DEFAULT: Final = CopyLimits(bytes=4 * 1024**3, entries=200_000)


def state_out(workspace: Path, dirs: Sequence[str], target: Path, *, limits: CopyLimits = _DEFAULT) -> CopyReport:
    """Copy state directories out of a workspace; each replaces the one of that name in the target.

    A name that is missing in the workspace, or is no directory there, is passed over, and the target keeps its own.

    Args:
        workspace: where a run has ended.
        dirs: names at the workspace's top, such as `.swarm`.
        target: a directory of this machine; made (0700) when it is missing.
        limits: of all of them together.

    Raises:
        InvalidSource: something is unreadable or over a limit; the target keeps what it had of that name.
        OutOfSpace: the target's disk is full; likewise.
    """
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    return _transfer(workspace, dirs, target, limits)


def state_in(source: Path, workspace: Path, dirs: Sequence[str], *, limits: CopyLimits = _DEFAULT) -> CopyReport:
    """Copy state directories into a workspace; each replaces the one of that name there.

    A `source` that is missing (the first run of a series) brings nothing.

    Raises:
        InvalidSource: something is unreadable or over a limit.
        OutOfSpace: the workspace's disk is full.
    """
    return _transfer(source, dirs, workspace, limits) if source.is_dir() else CopyReport()


def _transfer(source: Path, dirs: Sequence[str], target: Path, limits: CopyLimits) -> CopyReport:
    copier = Copier(source, target, limits)
    with root_directory(source) as reading, root_directory(target) as writing:
        for name in dirs:
            if "/" in name or name in {"", ".", ".."}:
                raise ValueError(f"{name!r} is not a plain name")
            _replace(copier, reading, writing, os.fsencode(name))
    return copier.report()


def _replace(copier: Copier, reading: int, writing: int, name: bytes) -> None:
    """Copy beside the place, then swap: a failed copy leaves the old one."""
    try:
        if not stat.S_ISDIR(os.stat(name, dir_fd=reading, follow_symlinks=False).st_mode):
            return
    except FileNotFoundError:
        return
    fresh = b".claude-flow-dagger-" + secrets.token_hex(8).encode()
    os.mkdir(fresh, 0o700, dir_fd=writing)
    try:
        with directory(name, reading) as source, directory(fresh, writing) as target:
            copier.directory(source, target, name + b"/", Room.PLAIN, 1)
        remove_entry(name, writing)
        os.rename(fresh, name, src_dir_fd=writing, dst_dir_fd=writing)
    except BaseException:
        remove_entry(fresh, writing)
        raise
