"""Snapshots of a workspace, and the patch between two of them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import InvalidSource
from claude_flow_dagger.workspace.fds import IsNotRegular, link_target, regular_file, root_directory
from claude_flow_dagger.workspace.names import shown
from claude_flow_dagger.workspace.objects import Store, blob_id, hash_file
from claude_flow_dagger.workspace.patch import Contents, Patch, make_patch
from claude_flow_dagger.workspace.report import CopyLimits
from claude_flow_dagger.workspace.scan import Found, Scan
from claude_flow_dagger.workspace.tree import SYMLINK, Entry, Stamp, Tree, changed

__all__ = ["Patch", "Snapshots", "Tree"]

_DEFAULT: Final = CopyLimits()
_MAX_PATCH: Final = 64 * 1024**2
_SETTLED_NS: Final = 50_000_000
"""A file that changed this shortly before it was hashed may change again without a new time stamp."""
_GONE: Final = {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}


class Snapshots:
    """Takes snapshots of workspaces and keeps their contents in a directory of its own.

    No repository, attribute, filter or configuration is read: contents are raw bytes, and nothing in a workspace can
    run a command or reach outside of it. A nested repository is a plain directory without its `.git`.

    Args:
        store: a private directory outside every workspace; made (0700) when it is missing. It holds the contents of
            every version seen, for as long as it is wanted.
        excluded: paths left out with everything below, relative to the workspace, such as `.swarm`.
        limits: of a workspace's entries, bytes and depth.
        max_patch: bytes of a patch.
    """

    def __init__(
        self,
        store: Path,
        *,
        excluded: Iterable[str] = (),
        limits: CopyLimits = _DEFAULT,
        max_patch: int = _MAX_PATCH,
    ) -> None:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._store = Store(store / "contents")
        self._excluded = frozenset(path.strip("/").encode("utf-8", "surrogateescape") for path in excluded)
        self._limits = limits
        self._max_patch = max_patch

    def take(self, root: Path, *, baseline: Tree | None = None) -> Tree:
        """What a workspace holds now.

        Left out: every `.git`, what is excluded, and what `.gitignore` files ignore; `.git/info/exclude` and the
        user's own ignore files are not read, since what belongs to a patch must not depend on the machine. Empty
        directories are not seen, as in git.

        Args:
            root: the workspace.
            baseline: an earlier snapshot of the same directory or of its copy. Its files are seen whatever
                `.gitignore` says now, what it ignored stays ignored, and untouched files are not read again.

        Raises:
            InvalidSource: something is unreadable, or over a limit.
            OutOfSpace: the store's disk is full.
        """
        keep = self._store
        fd = keep.open()
        try:
            return self._read(
                root, baseline, lambda file, size: keep.add_file(fd, file, size), lambda b: keep.add(fd, b)
            )
        finally:
            os.close(fd)

    def differences(self, root: Path, before: Tree) -> list[bytes]:
        """The paths at which a directory differs from a snapshot of it or of its copy; nothing is stored.

        Raises:
            InvalidSource: something is unreadable, or over a limit.
        """
        now = self._read(root, before, hash_file, blob_id)
        return [path for path, _, _ in changed(before, now)]

    def diff(self, before: Tree, after: Tree) -> Patch:
        """The patch from one snapshot to another; both were taken by this object.

        Raises:
            PatchTooLarge: it would be larger than `max_patch`.
        """
        contents = Contents(read=self._store.read, size=self._store.size)
        return make_patch(before, after, contents, max_bytes=self._max_patch)

    def read(self, oid: bytes) -> bytes:
        """A file's content, or a symlink's target.

        Raises:
            KeyError: no snapshot of this object saw it.
        """
        return self._store.read(oid)

    def write(self, oid: bytes, fd: int) -> None:
        """Write a content to an open file, however large.

        Raises:
            KeyError: no snapshot of this object saw it.
        """
        self._store.copy_to(oid, fd)

    def _read(
        self,
        root: Path,
        baseline: Tree | None,
        file: Callable[[int, int], bytes],
        link: Callable[[bytes], bytes],
    ) -> Tree:
        scan = Scan(str(root), self._excluded, baseline, self._limits)
        known = baseline.entries if baseline is not None else {}
        entries: dict[bytes, Entry] = {}
        try:
            with root_directory(root) as top:
                for found in scan.walk(top):
                    entry = _entry(found, known.get(found.path), file, link)
                    if entry is not None:
                        entries[found.path] = entry
        except (FileNotFoundError, NotADirectoryError) as error:
            raise InvalidSource(
                f"the workspace {shown(str(root))} is no directory (any more): {error.strerror}", cure="run it again"
            ) from error
        return Tree(entries, frozenset(scan.ignored), scan.notices.all())


def _entry(
    found: Found,
    known: Entry | None,
    file: Callable[[int, int], bytes],
    link: Callable[[bytes], bytes],
) -> Entry | None:
    """None: it vanished or became something else meanwhile."""
    status = found.status
    stamp = Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if known is not None and known.stamp == stamp and (known.mode == SYMLINK) == (found.mode == SYMLINK):
        return Entry(found.mode, known.oid, stamp)
    kept = stamp if max(stamp.ctime, stamp.mtime) < time.time_ns() - _SETTLED_NS else None
    try:
        if found.mode == SYMLINK:
            return Entry(SYMLINK, link(link_target(found.name, found.parent)), kept)
        with regular_file(found.name, found.parent) as (fd, now):
            return Entry(found.mode, file(fd, now.st_size), kept)
    except IsNotRegular:
        return None
    except OSError as error:
        if error.errno in _GONE:
            return None
        if error.errno in {errno.EACCES, errno.EPERM}:
            raise InvalidSource(
                f"{shown(found.path)} cannot be read: {error.strerror}",
                cure="give yourself the permission to read it (chmod u+r), or put it into .gitignore",
            ) from error
        raise
