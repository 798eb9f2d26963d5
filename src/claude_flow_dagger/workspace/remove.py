"""Removing a tree that an agent has left behind: any depth, any modes, any names."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from claude_flow_dagger.workspace.fds import children, directory, root_directory


def remove_tree(path: Path) -> None:
    """Remove a directory and everything in it, without following a symlink; a missing one is fine.

    Directories are moved up before they are emptied, so that no nesting, however deep, needs more than a few file
    descriptors or a deep stack.

    Raises:
        OSError: something in it can't be removed (an immutable file, a mount).
    """
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            path.unlink()
            return
    except FileNotFoundError:
        return
    path.chmod(0o700)
    with root_directory(path) as root:
        empty_directory(root)
    path.rmdir()


def remove_entry(name: bytes, parent: int) -> None:
    """Remove one entry of a directory, a file or a whole tree; a missing one is fine."""
    try:
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=parent)
        return
    _open_up(name, parent)
    with directory(name, parent) as inside:
        empty_directory(inside)
    os.rmdir(name, dir_fd=parent)


def empty_directory(root: int) -> None:
    """Remove every entry of a directory, given by its descriptor."""
    token = secrets.token_hex(8)
    fresh = (f".removed-{token}-{number}".encode() for number in count())
    while found := children(root):
        for name, status in found:
            if not stat.S_ISDIR(status.st_mode):
                os.unlink(name, dir_fd=root)
                continue
            _open_up(name, root)
            with directory(name, root) as inside:
                _empty_into(inside, root, fresh)
            os.rmdir(name, dir_fd=root)


def _empty_into(inside: int, root: int, fresh: Iterator[bytes]) -> None:
    for name, status in children(inside):
        if stat.S_ISDIR(status.st_mode):
            _open_up(name, inside)  # moving a directory writes its `..`
            os.rename(name, next(fresh), src_dir_fd=inside, dst_dir_fd=root)
        else:
            os.unlink(name, dir_fd=inside)


def _open_up(name: bytes, parent: int) -> None:
    """chmod u+rwx of a directory and never of what a symlink leads to."""
    fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        if os.fstat(fd).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{fd}", 0o700)  # noqa: PTH101 - a descriptor
    finally:
        os.close(fd)
