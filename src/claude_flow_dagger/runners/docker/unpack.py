"""A tar stream that an agent had its hands in, mirrored into a directory of this machine.

Every name is looked up by directory descriptors that follow no link, so nothing is written outside of the directory,
whatever the archive says. A file whose contents are the same stays as it is.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Final, cast

from claude_flow_dagger.errors import OutOfSpace, SandboxError
from claude_flow_dagger.workspace.fds import children, directory, new_file, regular_file, root_directory, write_all
from claude_flow_dagger.workspace.names import shown
from claude_flow_dagger.workspace.remove import remove_entry
from claude_flow_dagger.workspace.report import CopyLimits

_CHUNK: Final = 1 << 18
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_DEFAULT: Final = CopyLimits()


def mirror(stream: IO[bytes], target: Path, *, protected: tuple[str, ...] = (), limits: CopyLimits = _DEFAULT) -> None:
    """Make a directory equal to what an archive holds: written, replaced and deleted as needed.

    Args:
        stream: a tar whose names begin with the directory's own, as the daemon sends it.
        target: an existing directory.
        protected: names in it that are left alone, whatever the archive says.
        limits: caps on the archive.

    Raises:
        SandboxError: the archive breaks off, breaks a rule, or something cannot be written.
        OutOfSpace: the disk is full.
    """
    try:
        with root_directory(target) as root:
            work = _Mirror(root, {os.fsencode(name) for name in protected}, limits)
            # Read as bytes, one after the other: an archive of another kind than a plain tar is refused.
            counted = _Counted(stream)
            with tarfile.open(
                fileobj=cast(IO[bytes], counted), mode="r|", bufsize=_CHUNK, encoding="utf-8", errors="surrogateescape"
            ) as archive:
                while (member := archive.next()) is not None:
                    work.take(archive, member)
                    archive.members = []  # type: ignore[attr-defined] # else every header stays in memory
                end = int(archive.offset)
            counted.check_end(end)
            # Only now: what a broken archive does not name is not gone.
            work.finish()
    except tarfile.TarError as error:
        raise SandboxError(f"the workspace did not come back whole: {error}") from error
    except OSError as error:
        if isinstance(error, OutOfSpace):
            raise
        if error.errno in _FULL:
            raise OutOfSpace(f"{target}: the disk is full", cure="free some space") from error
        raise SandboxError(f"{target}: the workspace cannot be brought back: {error.strerror or error}") from error


class _Counted:
    """A stream that knows whether it had the end of an archive: tarfile takes a cut or broken header for one too."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._read = self._text = 0  # bytes; and those up to the last that isn't zero

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if text := len(data.rstrip(b"\0")):
            self._text = self._read + text
        self._read += len(data)
        return data

    def check_end(self, offset: int) -> None:
        """Read the rest, which must be nothing but the zeros that end an archive.

        Args:
            offset: where the last member ended.

        Raises:
            ReadError: it is something else, or nothing.
        """
        while self.read(_CHUNK):
            pass
        if self._text > offset or self._read < offset + tarfile.BLOCKSIZE:
            raise tarfile.ReadError("it breaks off")


class _Mirror:
    def __init__(self, root: int, protected: set[bytes], limits: CopyLimits) -> None:
        self._root = root
        self._protected = protected
        self._limits = limits
        self._seen: defaultdict[bytes, set[bytes]] = defaultdict(set)
        self._modes: dict[bytes, tuple[int, int]] = {}
        self._bytes = self._entries = 0
        self._top: bytes | None = None

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if self._top is None:
            if not member.isdir():
                raise SandboxError(f"the workspace's archive begins with {shown(os.fsencode(member.name))}")
            # The directory itself: by its name from Docker, by none from Podman.
            self._top = os.fsencode(member.name)
            return
        parts = _parts(member.name, self._top)
        if parts[0] in self._protected:
            return
        if len(parts) > self._limits.depth:
            raise SandboxError(f"{shown(b'/'.join(parts))}: directories are nested deeper than {self._limits.depth}")
        self._entries += 1
        self._bytes += member.size
        if self._entries > self._limits.entries or self._bytes > self._limits.bytes:
            raise SandboxError(
                f"the workspace has grown over its limit ({self._entries} entries, {self._bytes} bytes)",
                cure="keep large things out of the workspace: the sandbox has a /tmp of its own",
            )
        with self._parent(parts) as (parent, name):
            if member.isdir():
                self._mark(parts)
                _make_directory(name, parent)
                self._seen[b"/".join(parts)]  # an empty one is seen too
                self._modes[b"/".join(parts)] = (member.mode & 0o777 | 0o700, _nanoseconds(member))
            elif member.issym():
                self._mark(parts)
                _make_link(os.fsencode(member.linkname), name, parent)
            elif member.isreg():
                self._mark(parts)
                self._file(archive, member, name, parent)
            elif member.islnk():
                self._mark(parts)
                self._same_as(_parts(member.linkname, self._top), name, parent)
            # Pipes and devices have no place in a workspace.

    def finish(self) -> None:
        """Delete what the archive does not hold, then set the modes and times of directories."""
        self._prune(self._root, b"")
        for path in sorted(self._modes, key=lambda path: -path.count(b"/")):
            mode, mtime = self._modes[path]
            with ExitStack() as stack:
                fd = self._root
                for part in path.split(b"/"):
                    fd = stack.enter_context(directory(part, fd))
                os.fchmod(fd, mode)
                os.utime(fd, ns=(mtime, mtime))

    def _prune(self, fd: int, path: bytes) -> None:
        wanted = self._seen[path]
        for name, status in children(fd):
            if not path and name in self._protected:
                continue
            if name not in wanted:
                remove_entry(name, fd)
            elif stat.S_ISDIR(status.st_mode):
                with directory(name, fd) as inside:
                    self._prune(inside, path + b"/" + name if path else name)

    def _mark(self, parts: list[bytes]) -> None:
        for end in range(1, len(parts) + 1):
            self._seen[b"/".join(parts[: end - 1])].add(parts[end - 1])

    @contextmanager
    def _parent(self, parts: list[bytes]) -> Iterator[tuple[int, bytes]]:
        with ExitStack() as stack:
            fd = self._root
            for part in parts[:-1]:
                _make_directory(part, fd)
                fd = stack.enter_context(directory(part, fd))
            yield fd, parts[-1]

    def _file(self, archive: tarfile.TarFile, member: tarfile.TarInfo, name: bytes, parent: int) -> None:
        source = archive.extractfile(member)
        if source is None:  # pragma: no cover - a regular file has contents
            raise SandboxError(f"{shown(name)}: has no contents")
        _write(source, member.size, name, parent, member.mode & 0o777, _nanoseconds(member))

    def _same_as(self, other: list[bytes], name: bytes, parent: int) -> None:
        """A hard link becomes a file of its own."""
        with ExitStack() as stack:
            fd = self._root
            for part in other[:-1]:
                fd = stack.enter_context(directory(part, fd))
            found, status = stack.enter_context(regular_file(other[-1], fd))
            self._bytes += status.st_size
            if self._bytes > self._limits.bytes:
                raise SandboxError("the workspace has grown over its limit by hard links")
            with os.fdopen(os.dup(found), "rb") as source:
                _write(source, status.st_size, name, parent, stat.S_IMODE(status.st_mode), status.st_mtime_ns)


def _parts(name: str, top: bytes) -> list[bytes]:
    """A member's path in the directory: without the archive's own root."""
    raw = os.fsencode(name)
    inside = raw.removeprefix(top + b"/")
    parts = [part for part in inside.split(b"/") if part not in (b"", b".")]
    if not raw.startswith(top + b"/") or inside.startswith(b"/") or b"\0" in raw or b".." in parts or not parts:
        raise SandboxError(f"the workspace's archive names {shown(raw)}")
    return parts


def _nanoseconds(member: tarfile.TarInfo) -> int:
    return int(member.mtime * 1_000_000_000)


def _make_directory(name: bytes, parent: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            return
        os.unlink(name, dir_fd=parent)
        os.mkdir(name, 0o700, dir_fd=parent)


def _make_link(goal: bytes, name: bytes, parent: int) -> None:
    try:
        if os.readlink(name, dir_fd=parent) == goal:
            return
    except OSError:
        pass  # no link, or nothing there: made below
    remove_entry(name, parent)
    os.symlink(goal, name, dir_fd=parent)


def _write(source: IO[bytes], size: int, name: bytes, parent: int, mode: int, mtime: int) -> None:
    """Write a file's contents beside it and rename, unless they are what is there already."""
    with ExitStack() as stack:
        old: int | None = None
        try:
            fd, status = stack.enter_context(regular_file(name, parent))
            old = fd if status.st_size == size else None
        except OSError:
            remove_entry(name, parent)  # something else, or nothing
        done = 0
        chunk = source.read(_CHUNK)
        while old is not None and chunk and os.read(old, len(chunk)) == chunk:
            done += len(chunk)
            chunk = source.read(_CHUNK)
        if old is not None and not chunk and done == size:
            if stat.S_IMODE(os.fstat(old).st_mode) != mode:
                os.fchmod(old, mode)
            return
        beside = f".cfd-{secrets.token_hex(8)}".encode()
        try:
            with new_file(beside, parent) as out:
                if old is not None:
                    os.lseek(old, 0, os.SEEK_SET)
                    while done > 0:
                        piece = os.read(old, min(done, _CHUNK))
                        write_all(out, piece)
                        done -= len(piece)
                while chunk:
                    _write_sparse(out, chunk)
                    chunk = source.read(_CHUNK)
                os.ftruncate(out, size)
                os.fchmod(out, mode)
                os.utime(out, ns=(mtime, mtime))
            os.rename(beside, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            remove_entry(beside, parent)
            raise


def _write_sparse(fd: int, chunk: bytes) -> None:
    # A hole stays one: a file of 1 GB without contents takes no room.
    if chunk.count(0) == len(chunk):
        os.lseek(fd, len(chunk), os.SEEK_CUR)
    else:
        write_all(fd, chunk)
