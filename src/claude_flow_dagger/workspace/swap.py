"""Many files replaced at once by renames, and put back when one of them fails."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from claude_flow_dagger.errors import ApplyConflict, InfrastructureError
from claude_flow_dagger.workspace.fds import children, directory, new_file
from claude_flow_dagger.workspace.names import shown
from claude_flow_dagger.workspace.snapshot import Snapshots
from claude_flow_dagger.workspace.tree import EXECUTABLE, SYMLINK, Entry

_NOT_PRUNED: Final = {
    errno.ENOTEMPTY,
    errno.EEXIST,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EACCES,
    errno.EBUSY,
}


@dataclass
class Change:
    """One path; `found` is what was there when it was checked."""

    path: bytes
    old: Entry | None
    new: Entry | None
    found: os.stat_result | None = None


def parent_of(root: int, path: bytes, stack: ExitStack) -> tuple[int, bytes]:
    """A descriptor of the directory that holds a path, and the last name.

    Raises:
        OSError: a part of the path is missing, a symlink or no directory.
    """
    *parts, name = path.split(b"/")
    fd = root
    for part in parts:
        fd = stack.enter_context(directory(part, fd))
    return fd, name


class Swap:
    """One swap below an open directory."""

    def __init__(self, root: int, snapshots: Snapshots) -> None:
        self._root = root
        self._snapshots = snapshots
        self._prefix = f".claude-flow-dagger-{secrets.token_hex(8)}-".encode()
        self._count = 0
        self._undo: list[Callable[[], None]] = []

    def run(self, changes: list[Change]) -> None:
        """Make all changes, or none.

        Raises:
            ApplyConflict: something is in the way; all was undone.
            OSError: a write or rename failed; all was undone.
            InfrastructureError: and undoing failed as well, or what was set aside could not be removed; says what.
        """
        files = {change.path for change in changes if change.new is not None}
        backups: list[bytes] = []
        try:
            staged = [self._stage(change, change.new) for change in changes if change.new is not None]
            backups += [self._set_aside(change, files) for change in changes if change.old is not None]
            for change, path in zip((c for c in changes if c.new is not None), staged, strict=True):
                self._place(change, path)
        except BaseException as error:
            self._roll_back(error)
            raise
        try:
            for backup in backups:
                self._on(backup, lambda parent, name: os.unlink(name, dir_fd=parent))
            for change in changes:
                if change.new is None:
                    self._prune(change.path)
        except OSError as error:
            raise InfrastructureError(
                f"the changes were written, but an old file set aside could not be removed: {error.strerror}",
                cure=f"remove the files named {self._prefix.decode()}*",
            ) from error

    def _roll_back(self, cause: BaseException) -> None:
        failed = []
        for step in reversed(self._undo):
            try:
                step()
            except OSError as error:
                failed.append(error)
        if failed:
            raise InfrastructureError(
                f"the changes could not be written ({cause}) and {len(failed)} steps could not be undone: {failed[0]}",
                cure=f"the old files are there, named {self._prefix.decode()}*",
            ) from cause

    def _fresh(self, folder: bytes) -> bytes:
        self._count += 1
        name = self._prefix + str(self._count).encode()
        return folder + b"/" + name if folder else name

    def _on(self, path: bytes, action: Callable[[int, bytes], None]) -> None:
        with ExitStack() as stack:
            action(*parent_of(self._root, path, stack))

    def _move(self, old: bytes, new: bytes) -> None:
        with ExitStack() as stack:
            (a, x), (b, y) = parent_of(self._root, old, stack), parent_of(self._root, new, stack)
            os.rename(x, y, src_dir_fd=a, dst_dir_fd=b)

    def _is_directory(self, path: bytes) -> bool:
        with ExitStack() as stack:
            try:
                parent, name = parent_of(self._root, path, stack)
                return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
            except OSError as error:
                if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                    return False
                raise

    def _stage(self, change: Change, new: Entry) -> bytes:
        """Write a new content into the nearest directory that is there already."""
        folder = change.path.rpartition(b"/")[0]
        while folder and not self._is_directory(folder):
            folder = folder.rpartition(b"/")[0]
        path = self._fresh(folder)
        self._undo.append(lambda: self._discard(path))
        self._on(path, lambda parent, name: self._write(parent, name, change, new))
        return path

    def _discard(self, path: bytes) -> None:
        def unlink(parent: int, name: bytes) -> None:
            try:
                os.unlink(name, dir_fd=parent)
            except FileNotFoundError:
                return  # the disk was full before it was made

        self._on(path, unlink)

    def _write(self, parent: int, name: bytes, change: Change, new: Entry) -> None:
        if new.mode == SYMLINK:
            os.symlink(self._snapshots.read(new.oid), name, dir_fd=parent)
            return
        with new_file(name, parent, 0o777 if new.mode == EXECUTABLE else 0o666) as fd:
            self._snapshots.write(new.oid, fd)
            if change.found is not None and stat.S_ISREG(change.found.st_mode):
                os.fchmod(fd, _permissions(change.found.st_mode, executable=new.mode == EXECUTABLE))

    def _set_aside(self, change: Change, files: set[bytes]) -> bytes:
        """Rename what is there, into a directory that stays one."""
        folder = change.path.rpartition(b"/")[0]
        parts = folder.split(b"/")
        for end in range(1, len(parts) + 1):
            if b"/".join(parts[:end]) in files:
                folder = b"/".join(parts[: end - 1])
                break
        backup = self._fresh(folder)
        self._move(change.path, backup)
        self._undo.append(lambda: self._move(backup, change.path))

        def check(parent: int, name: bytes) -> None:
            now, then = os.stat(name, dir_fd=parent, follow_symlinks=False), change.found
            if then is None or _identity(now) != _identity(then):
                raise _in_the_way(change.path)

        self._on(backup, check)
        return backup

    def _place(self, change: Change, staged: bytes) -> None:
        parts = change.path.split(b"/")
        for end in range(1, len(parts)):
            self._make_directory(b"/".join(parts[:end]))
        if self._is_directory(change.path):
            self._on(change.path, lambda parent, name: self._remove_directories(parent, name, change.path))
        with ExitStack() as stack:
            parent, name = parent_of(self._root, change.path, stack)
            if any(found == name for found, _ in children(parent)):
                raise _in_the_way(change.path)
        self._move(staged, change.path)
        self._undo.append(lambda: self._move(change.path, staged))

    def _make_directory(self, path: bytes) -> None:
        if self._is_directory(path):
            return
        try:
            self._on(path, lambda parent, name: os.mkdir(name, 0o777, dir_fd=parent))
        except FileExistsError:
            raise _in_the_way(path) from None
        self._undo.append(lambda: self._on(path, lambda parent, name: os.rmdir(name, dir_fd=parent)))

    def _remove_directories(self, parent: int, name: bytes, path: bytes) -> None:
        """Remove a directory that holds nothing but directories."""
        with directory(name, parent) as fd:
            mode = os.fstat(fd).st_mode & 0o7777
            for child, status in children(fd):
                if not stat.S_ISDIR(status.st_mode):
                    raise _in_the_way(path + b"/" + child)
                self._remove_directories(fd, child, path + b"/" + child)
        os.rmdir(name, dir_fd=parent)
        self._undo.append(lambda: self._on(path, lambda up, last: _remake(last, mode, up)))

    def _prune(self, path: bytes) -> None:
        """Remove the directories that a deletion has emptied, as git does."""
        folder = path.rpartition(b"/")[0]
        while folder:
            try:
                self._on(folder, lambda parent, name: os.rmdir(name, dir_fd=parent))
            except OSError as error:
                if error.errno in _NOT_PRUNED:
                    return
                raise
            folder = folder.rpartition(b"/")[0]


def _remake(name: bytes, mode: int, parent: int) -> None:
    os.mkdir(name, 0o700, dir_fd=parent)
    os.chmod(name, mode, dir_fd=parent)


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _permissions(mode: int, *, executable: bool) -> int:
    """The old permissions, executable for whoever may read when the new file is."""
    plain = mode & 0o777
    if executable == bool(mode & 0o100):
        return plain
    return plain | (plain & 0o444) >> 2 if executable else plain & ~0o111


def _in_the_way(path: bytes) -> ApplyConflict:
    return ApplyConflict(
        f"{shown(path)} changed while the result was written; everything was undone",
        cure="close what else writes there, and apply the run's patch again",
    )
