"""Handing a result back to the source: all of it or nothing, and only where the source is as it was."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import ApplyConflict, InvalidSource, OutOfSpace
from claude_flow_dagger.workspace.fds import link_target, regular_file, root_directory
from claude_flow_dagger.workspace.names import shown
from claude_flow_dagger.workspace.objects import blob_id, hash_file
from claude_flow_dagger.workspace.snapshot import Snapshots
from claude_flow_dagger.workspace.swap import Change, Swap, parent_of
from claude_flow_dagger.workspace.tree import EXECUTABLE, REGULAR, SYMLINK, Entry, Tree, changed

_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}
_ABSENT: Final = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_NAMED: Final = 10


def apply(source: Path, before: Tree, after: Tree, snapshots: Snapshots) -> None:
    """Write the changes from one snapshot to another into the source.

    New contents are written beside their places first, then everything is swapped by renames. On any failure all is
    undone, and the source is as it was. Only a machine that dies between the renames (milliseconds) can leave files
    named `.claude-flow-dagger-*` behind. Permissions of changed files are kept, apart from the executable bits.

    Args:
        source: the directory that the workspace was copied from.
        before: the baseline.
        after: the result.
        snapshots: that took both.

    Raises:
        ApplyConflict: a path to be changed is no longer what the baseline had; names them, nothing was written.
        OutOfSpace: the source's disk is full; nothing was changed.
        InvalidSource: the source is missing or can't be written; nothing was changed.
    """
    changes = [Change(path, old, new) for path, old, new in changed(before, after)]
    folders = {path[:at] for path in before.entries for at in range(len(path)) if path[at : at + 1] == b"/"}
    if not changes:
        return
    try:
        with root_directory(source) as root:
            _refuse_conflicts(source, [change for change in changes if not _as_it_was(root, change, folders)])
            Swap(root, snapshots).run(changes)
    except OSError as error:
        if isinstance(error, OutOfSpace):
            raise
        if error.errno in _NO_ROOM:
            raise OutOfSpace(
                f"the disk of {shown(str(source))} is full: {len(changes)} changes did not fit; nothing was changed",
                cure="free some space there; the patch of the run can be applied with `git apply`",
            ) from error
        raise InvalidSource(
            f"the changes cannot be written to {shown(str(source))}: {error.strerror} "
            f"({shown(os.fsencode(error.filename or ''))}); nothing was changed",
            cure="make the directory and its files writable for you",
        ) from error


def unchanged(source: Path, before: Tree, snapshots: Snapshots) -> list[str]:
    """The paths at which the source differs from the baseline; empty when it is unchanged.

    Raises:
        InvalidSource: something in it is unreadable.
    """
    return [shown(path) for path in snapshots.differences(source, before)]


def _refuse_conflicts(source: Path, conflicts: list[Change]) -> None:
    if not conflicts:
        return
    names = ", ".join(shown(change.path) for change in conflicts[:_NAMED])
    more = f" and {len(conflicts) - _NAMED} more" if len(conflicts) > _NAMED else ""
    raise ApplyConflict(
        f"{shown(str(source))} has changed since the run began, and nothing was written: {names}{more}",
        cure="merge the run's patch yourself (`git apply --3way`), or run it again",
    )


def _as_it_was(root: int, change: Change, folders: set[bytes]) -> bool:
    """Whether the source still has what the baseline had at a path; remembers the status."""
    with ExitStack() as stack:
        try:
            parent, name = parent_of(root, change.path, stack)
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            return change.old is None
        change.found = status
        if change.old is None:
            return stat.S_ISDIR(status.st_mode) and change.path in folders  # a directory becomes a file
        if stat.S_ISLNK(status.st_mode):
            return change.old.same(Entry(SYMLINK, blob_id(link_target(name, parent))))
        if not stat.S_ISREG(status.st_mode):
            return False
        with regular_file(name, parent) as (fd, now):
            mode = EXECUTABLE if now.st_mode & 0o100 else REGULAR
            return change.old.same(Entry(mode, hash_file(fd, now.st_size)))
