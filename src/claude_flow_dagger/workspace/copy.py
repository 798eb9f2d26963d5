"""A faithful copy of a directory for a sandbox, by directory descriptors: no symlink is ever followed."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import InvalidSource, OutOfSpace
from claude_flow_dagger.workspace import gitconfig
from claude_flow_dagger.workspace.fds import (
    IsNotRegular,
    children,
    directory,
    link_target,
    new_file,
    read_all,
    regular_file,
    root_directory,
    write_all,
)
from claude_flow_dagger.workspace.gitdir import Act, Room, rule, stripped
from claude_flow_dagger.workspace.names import leads_out, shown
from claude_flow_dagger.workspace.remove import remove_tree
from claude_flow_dagger.workspace.report import CopyLimits, CopyReport, NoticeList, Progress

_FICLONE: Final = 0x40049409
_CHUNK: Final = 16 * 1024**2
_NO_CLONE: Final = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.EPERM, errno.ENOSYS}
_GONE: Final = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR, errno.ENXIO}
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}
_DEFAULT: Final = CopyLimits()
_SMALL: Final = 64 * 1024**2
"""Configurations and reflogs are rewritten in memory up to this size, in bytes, and left out beyond it."""


def copy_tree(
    source: Path, target: Path, *, limits: CopyLimits = _DEFAULT, on_progress: Progress | None = None
) -> CopyReport:
    """Copy a directory: contents, permission bits, modification times and symlinks; the source is only read.

    Hard links become files of their own. Sockets, pipes and devices are left out with a notice, and so is what
    `gitdir.rule` keeps out of a `.git`. Set-user-id bits are dropped, and every directory is made writable for its
    owner. Entries that vanish or change their kind meanwhile are left out with a notice.

    Args:
        source: the directory.
        target: missing, or an empty directory. On any error it is as it was.
        limits: what the copy may hold.
        on_progress: called about every hundred entries and every 16 MiB.

    Raises:
        InvalidSource: the source is missing, no directory, unreadable, over a limit, or overlaps the target.
        OutOfSpace: the target's disk is full.
    """
    _check(source, target)
    made = not target.exists()
    if made:
        target.mkdir(mode=0o700)
    elif any(target.iterdir()):
        raise InvalidSource(
            f"the directory {shown(str(target))} for the copy is not empty", cure="name a new directory"
        )
    copier = Copier(source, target, limits, on_progress)
    try:
        with root_directory(source) as reading, root_directory(target) as writing:
            copier.directory(reading, writing, b"", Room.PLAIN, 0)
    except BaseException:
        remove_tree(target)
        if not made:
            target.mkdir(mode=0o700)
        raise
    return copier.report()


def _check(source: Path, target: Path) -> None:
    name = shown(str(source))
    try:
        if not stat.S_ISDIR(source.stat().st_mode):
            raise InvalidSource(f"{name} is not a directory", cure="name the directory that holds the file")
        os.close(os.open(source, os.O_RDONLY | os.O_DIRECTORY))
    except FileNotFoundError:
        raise InvalidSource(
            f"the directory {name} does not exist", cure="check the path, or make the directory"
        ) from None
    except OSError as error:
        raise InvalidSource(
            f"the directory {name} cannot be read: {error.strerror}", cure=_permit(error, name)
        ) from error
    real, place = source.resolve(), target.resolve()
    if real == place or real in place.parents or place in real.parents:
        raise InvalidSource(
            f"the directory {name} and its copy {shown(str(target))} lie within each other",
            cure="name a directory for runs outside the source, or a smaller source",
        )


def _permit(error: OSError, name: str) -> str:
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"give yourself the permission (chmod -R u+rX {name}), or take it out of the source"
    return "check the disk and the path"


class Copier:
    """One copying: counts what it does and stops at the limits."""

    def __init__(self, source: Path, target: Path, limits: CopyLimits, on_progress: Progress | None = None) -> None:
        self._source = source
        self._target = target
        self._limits = limits
        self._on_progress = on_progress
        self._notices = NoticeList()
        self._clone = True
        self._files = self._directories = self._symlinks = self._bytes = 0

    def report(self) -> CopyReport:
        """What was copied until now."""
        return CopyReport(
            files=self._files,
            directories=self._directories,
            symlinks=self._symlinks,
            bytes=self._bytes,
            notices=self._notices.all(),
        )

    def directory(self, reading: int, writing: int, path: bytes, room: Room, depth: int) -> None:
        """Copy the entries of one directory and then its mode and times; `path` is relative and ends in a slash."""
        if depth > self._limits.depth:
            raise self._over(f"directories are nested deeper than {self._limits.depth}", path)
        found = self._listed(reading, path)
        if room is Room.MODULES and any(name == b"HEAD" for name, _ in found):
            room = Room.GIT
        for name, status in found:
            self._entry(reading, writing, path, name, status, room, depth)
        if room is Room.GIT and not any(name == b"config" for name, _ in found):
            with new_file(b"config", writing, 0o644) as fd:
                write_all(fd, gitconfig.MINIMAL)
        own = os.fstat(reading)
        os.fchmod(writing, own.st_mode & 0o777 | 0o700)
        os.utime(writing, ns=(own.st_atime_ns, own.st_mtime_ns))

    def _listed(self, reading: int, path: bytes) -> list[tuple[bytes, os.stat_result]]:
        try:
            return children(reading)
        except OSError as error:
            raise self._unreadable(error, path) from error

    def _entry(
        self, reading: int, writing: int, path: bytes, name: bytes, status: os.stat_result, room: Room, depth: int
    ) -> None:
        full = path + name
        mode = status.st_mode
        is_directory, is_link = stat.S_ISDIR(mode), stat.S_ISLNK(mode)
        act, inner = rule(room, name, is_directory=is_directory, is_link=is_link)
        if act is Act.TELL:
            self._notices.add(
                "git_left_out", f"{shown(full)} is left out of the copy: it can lead git out of it or run commands"
            )
        if act in {Act.TELL, Act.DROP}:
            return
        self._count(full)
        try:
            if is_directory:
                with directory(name, reading) as inside:
                    os.mkdir(name, 0o700, dir_fd=writing)
                    self._directories += 1
                    with directory(name, writing) as out:
                        self.directory(inside, out, full + b"/", inner, depth + 1)
            elif is_link:
                self._link(reading, writing, name, status, full)
            elif stat.S_ISREG(mode):
                self._file(reading, writing, name, full, act)
            else:
                self._notices.add("special_file", f"{shown(full)} is left out of the copy: a socket, pipe or device")
        except IsNotRegular:
            self._notices.add("changed_meanwhile", f"{shown(full)} changed while it was copied and is left out")
        except OSError as error:
            if isinstance(error, OutOfSpace):
                raise
            if error.errno in _NO_ROOM:
                raise self._full(full, status.st_size) from error
            if error.errno not in _GONE:
                raise self._unreadable(error, full) from error
            self._notices.add("changed_meanwhile", f"{shown(full)} changed while it was copied and is left out")

    def _link(self, reading: int, writing: int, name: bytes, status: os.stat_result, full: bytes) -> None:
        goal = link_target(name, reading)
        os.symlink(goal, name, dir_fd=writing)
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns), dir_fd=writing, follow_symlinks=False)
        self._symlinks += 1
        if leads_out(full, goal):
            self._notices.add(
                "symlink_leads_out",
                f"the symlink {shown(full)} leads out of the workspace, to {shown(goal)}: it dangles in the sandbox",
            )

    def _file(self, reading: int, writing: int, name: bytes, full: bytes, act: Act) -> None:
        with regular_file(name, reading) as (source, status):
            self._room_for(status.st_size, full)
            with new_file(name, writing) as target:
                if act is Act.COPY:
                    self._contents(source, target, full)
                else:
                    self._rewritten(source, target, act, status.st_size)
                os.fchmod(target, status.st_mode & 0o777)
                os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
        self._files += 1

    def _contents(self, source: int, target: int, full: bytes) -> None:
        if self._clone:
            try:
                fcntl.ioctl(target, _FICLONE, source)
            except OSError as error:
                if error.errno not in _NO_CLONE:
                    raise
                self._clone = False
            else:
                self._bytes += os.fstat(target).st_size
                return
        while True:
            count = _piece(source, target)
            self._bytes += count
            if not count:
                return
            self._room_for(0, full)
            if count >= _CHUNK:
                self._tell()

    def _rewritten(self, source: int, target: int, act: Act, size: int) -> None:
        data = read_all(source, _SMALL) if size <= _SMALL else b""
        data = gitconfig.sanitised(data) if act is Act.CONFIG else stripped(data)
        write_all(target, data)
        self._bytes += len(data)

    def _count(self, full: bytes) -> None:
        entries = self._files + self._directories + self._symlinks
        if entries >= self._limits.entries:
            raise self._over(f"it holds more than {self._limits.entries} files and directories", full)
        if entries % 100 == 0:
            self._tell()

    def _room_for(self, size: int, full: bytes) -> None:
        if self._bytes + size > self._limits.bytes:
            raise self._over(f"it holds more than {self._limits.bytes} bytes", full)

    def _tell(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._files + self._directories + self._symlinks, self._bytes)

    def _over(self, what: str, full: bytes) -> InvalidSource:
        return InvalidSource(
            f"the directory {shown(str(self._source))} is too large to copy: {what} (reached at {shown(full)})",
            cure="name a smaller directory, or take large parts out of it",
        )

    def _unreadable(self, error: OSError, full: bytes) -> InvalidSource:
        name = shown(os.path.join(os.fsencode(self._source), full))  # noqa: PTH118 - bytes
        return InvalidSource(f"{name} cannot be copied: {error.strerror}", cure=_permit(error, name))

    def _full(self, full: bytes, size: int) -> OutOfSpace:
        return OutOfSpace(
            f"the disk of {shown(str(self._target))} is full: {self._bytes} bytes were copied, and {shown(full)} "
            f"needs {size} more",
            cure="free some space there, or set TMPDIR to a directory with more",
        )


def _piece(source: int, target: int) -> int:
    """Move the next bytes inside the kernel where that works; 0 at the end of the file."""
    try:
        return os.copy_file_range(source, target, _CHUNK)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            raise
    return os.sendfile(target, source, None, _CHUNK)
