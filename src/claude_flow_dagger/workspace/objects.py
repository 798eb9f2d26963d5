"""Where snapshots keep file contents: one append-only file, each content named as git names a blob."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import OutOfSpace
from claude_flow_dagger.workspace.fds import read_all
from claude_flow_dagger.workspace.names import shown

_CHUNK: Final = 1024**2


def blob_id(data: bytes) -> bytes:
    """Git's id (SHA-1, 20 bytes) of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).digest()


def hash_file(fd: int, size: int) -> bytes:
    """Git's id of an open file that is `size` bytes long; of what is there when it has changed meanwhile."""
    if size <= _CHUNK:
        return blob_id(read_all(fd, size))
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    left = size
    while left and (part := os.read(fd, min(left, _CHUNK))):
        digest.update(part)
        left -= len(part)
    return digest.digest()


@dataclass
class Store:
    """Contents by id, in one private file (0600).

    Args:
        path: of the file; made at the first write.
    """

    path: Path
    _places: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    _end: int = 0

    def open(self) -> int:
        """A descriptor for `add` and `add_file`; the caller closes it."""
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def add(self, store: int, data: bytes) -> bytes:
        """Keep a content.

        Raises:
            OutOfSpace: the disk is full.
        """
        name = blob_id(data)
        if name not in self._places:
            self._append(store, data, self._end)
            self._places[name] = (self._end, len(data))
            self._end += len(data)
        return name

    def add_file(self, store: int, fd: int, size: int) -> bytes:
        """Keep an open file's first `size` bytes, however large; fewer when it has shrunk.

        Raises:
            OutOfSpace: the disk is full.
        """
        if size <= _CHUNK:
            return self.add(store, read_all(fd, size))
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        end = self._end
        while end - self._end < size and (part := os.read(fd, min(_CHUNK, size - (end - self._end)))):
            digest.update(part)
            self._append(store, part, end)
            end += len(part)
        if end - self._end < size:  # it shrank under us: its id must be that of what was kept
            return self.add(store, os.pread(store, end - self._end, self._end))
        name = digest.digest()
        if name not in self._places:
            self._places[name] = (self._end, size)
            self._end = end
        return name

    def read(self, name: bytes) -> bytes:
        """A content.

        Raises:
            KeyError: it was never added.
        """
        start, size = self._places[name]
        if not size:
            return b""
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.lseek(fd, start, os.SEEK_SET)
            return read_all(fd, size)
        finally:
            os.close(fd)

    def copy_to(self, name: bytes, fd: int) -> None:
        """Write a content to an open file, without holding it in memory."""
        start, left = self._places[name]
        store = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            while left:
                count = os.sendfile(fd, store, start, min(left, 16 * _CHUNK))
                if not count:
                    raise OSError(errno.EIO, "a kept content is cut short", str(self.path))
                start += count
                left -= count
        finally:
            os.close(store)

    def size(self, name: bytes) -> int:
        """Bytes of a content."""
        return self._places[name][1]

    def _append(self, store: int, data: bytes, at: int) -> None:
        view = memoryview(data)
        try:
            while view:
                count = os.pwrite(store, view, at)
                at += count
                view = view[count:]
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            raise OutOfSpace(
                f"the disk of {shown(str(self.path.parent))} is full: {len(data)} bytes of a snapshot did not fit",
                cure="free some space there, or set TMPDIR to a directory with more",
            ) from error
