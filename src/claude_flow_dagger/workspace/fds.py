"""Directories by file descriptor: no name is ever looked up through a symlink, whoever changes the tree meanwhile."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def root_directory(path: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of a directory named by the caller; only here are symlinks followed."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def directory(name: bytes, parent: int) -> Iterator[int]:
    """A descriptor of a directory below `parent`; a symlink is an OSError."""
    fd = os.open(name, _DIRECTORY, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def regular_file(name: bytes, parent: int) -> Iterator[tuple[int, os.stat_result]]:
    """A descriptor of a regular file below `parent`, to read, with its status.

    Raises:
        OSError: it is missing, unreadable or a symlink.
        IsNotRegular: it is something else; nothing blocks on a pipe.
    """
    fd = os.open(name, _READ, dir_fd=parent)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise IsNotRegular(errno.EINVAL, "not a regular file", os.fsdecode(name))
        yield fd, status
    finally:
        os.close(fd)


class IsNotRegular(OSError):
    """What was to be read is no regular file, or no symlink (any more)."""


@contextmanager
def new_file(name: bytes, parent: int, mode: int = 0o600) -> Iterator[int]:
    """A descriptor of a new file below `parent`, to write; an existing name is an OSError."""
    fd = os.open(name, _CREATE, mode, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def children(fd: int) -> list[tuple[bytes, os.stat_result]]:
    """The names in a directory with their own (unfollowed) status, sorted, without those that vanish meanwhile."""
    found = []
    with os.scandir(fd) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            found.append((os.fsencode(entry.name), status))
    found.sort(key=lambda item: item[0])
    return found


def read_all(fd: int, limit: int) -> bytes:
    """At most `limit` bytes of a descriptor."""
    parts = []
    while limit > 0 and (part := os.read(fd, min(limit, 1 << 20))):
        parts.append(part)
        limit -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    """Every byte of `data`, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def link_target(name: bytes, parent: int) -> bytes:
    """What a symlink below `parent` says.

    Raises:
        OSError: it is missing.
        IsNotRegular: it is no symlink any more.
    """
    try:
        return os.readlink(name, dir_fd=parent)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise IsNotRegular(errno.EINVAL, "changed meanwhile", os.fsdecode(name)) from error
        raise
