"""A directory as a tar stream for a volume: owned by the sandbox's user, read by directory descriptors."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path
from typing import IO, Final

from claude_flow_dagger.errors import SandboxError
from claude_flow_dagger.runners.bubblewrap import UID
from claude_flow_dagger.workspace.fds import (
    IsNotRegular,
    children,
    directory,
    link_target,
    regular_file,
    root_directory,
)
from claude_flow_dagger.workspace.names import shown

_DEEPEST: Final = 200


def pack_directory(source: Path, out: IO[bytes]) -> None:
    """Write a directory as a tar; what vanishes meanwhile is left out, pipes, sockets and devices too.

    Args:
        source: its contents become the archive's root.
        out: closed by the caller.

    Raises:
        SandboxError: something in it cannot be read.
    """
    with _archive(out) as archive, root_directory(source) as root:
        own = os.fstat(root)
        archive.addfile(_member(".", tarfile.DIRTYPE, own.st_mode | 0o700, own.st_mtime_ns))
        _directory(archive, root, b"", 0)


def pack_file(name: str, data: bytes, out: IO[bytes]) -> None:
    """Write one private file in a private directory as a tar."""
    with _archive(out) as archive:
        archive.addfile(_member(".", tarfile.DIRTYPE, 0o700, 0))
        member = _member(name, tarfile.REGTYPE, 0o600, 0)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def _archive(out: IO[bytes]) -> tarfile.TarFile:
    # Names are bytes: surrogates carry those that are no UTF-8 through.
    return tarfile.open(
        fileobj=out, mode="w|", bufsize=1 << 18, format=tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape"
    )


def _member(name: str, kind: bytes, mode: int, mtime_ns: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.mode = stat.S_IMODE(mode) & 0o777
    member.mtime = mtime_ns / 1e9
    member.uid = member.gid = UID
    return member


def _directory(archive: tarfile.TarFile, fd: int, path: bytes, depth: int) -> None:
    if depth > _DEEPEST:
        raise SandboxError(f"{shown(path)}: directories are nested deeper than {_DEEPEST}")
    for name, status in children(fd):
        full = path + name
        text, mode = os.fsdecode(full), status.st_mode
        try:
            if stat.S_ISDIR(mode):
                with directory(name, fd) as inside:
                    # Its owner must be able to write in it, as in a copy.
                    archive.addfile(_member(text, tarfile.DIRTYPE, mode | 0o700, status.st_mtime_ns))
                    _directory(archive, inside, full + b"/", depth + 1)
            elif stat.S_ISLNK(mode):
                link = _member(text, tarfile.SYMTYPE, 0o777, status.st_mtime_ns)
                link.linkname = os.fsdecode(link_target(name, fd))
                archive.addfile(link)
            elif stat.S_ISREG(mode):
                _file(archive, name, fd, text)
        except (FileNotFoundError, IsNotRegular):
            continue
        except PermissionError as error:
            raise SandboxError(f"{shown(full)}: cannot be read: {error.strerror}") from error


def _file(archive: tarfile.TarFile, name: bytes, parent: int, text: str) -> None:
    with regular_file(name, parent) as (fd, status):
        member = _member(text, tarfile.REGTYPE, status.st_mode, status.st_mtime_ns)
        member.size = status.st_size
        archive.addfile(member, _Exactly(fd, status.st_size))  # type: ignore[arg-type]


class _Exactly:
    """As many bytes of a file as its header promises, whatever happens to the file meanwhile."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._left = size

    def read(self, size: int) -> bytes:
        wanted = min(size, self._left)
        data = b""
        while len(data) < wanted:
            data += os.read(self._fd, wanted - len(data)) or bytes(wanted - len(data))
        self._left -= wanted
        return data
