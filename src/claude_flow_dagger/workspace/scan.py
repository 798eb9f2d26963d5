"""Walking a workspace for a snapshot: what belongs to it, by directory descriptors, links never followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from claude_flow_dagger.errors import InvalidSource
from claude_flow_dagger.workspace.fds import IsNotRegular, children, directory, read_all, regular_file
from claude_flow_dagger.workspace.ignore import Rules, ignored, parse
from claude_flow_dagger.workspace.names import refused_by_git, shown
from claude_flow_dagger.workspace.report import CopyLimits, NoticeList
from claude_flow_dagger.workspace.tree import EXECUTABLE, REGULAR, SYMLINK, Tree

_GITIGNORE_BYTES: Final = 256 * 1024
_PATTERNS: Final = 5000
"""Patterns in force for one directory; more are a way to keep a machine busy, not a project."""


@dataclass(frozen=True, slots=True)
class Found:
    """One entry that belongs to a snapshot; `parent` is open only until the next one is asked for."""

    path: bytes
    name: bytes
    parent: int
    mode: int
    status: os.stat_result


@dataclass
class Scan:
    """One walk.

    Args:
        root: named in messages.
        excluded: paths left out with everything below, relative to the root.
        baseline: its files stay part of the walk whatever `.gitignore` says now, and what it ignored stays out.
        limits: of entries, bytes and depth.
    """

    root: str
    excluded: frozenset[bytes]
    baseline: Tree | None
    limits: CopyLimits
    ignored: set[bytes] = field(default_factory=set)
    notices: NoticeList = field(default_factory=NoticeList)
    _entries: int = 0
    _bytes: int = 0
    _tracked_directories: frozenset[bytes] = frozenset()

    def __post_init__(self) -> None:
        if self.baseline is not None:
            self._tracked_directories = frozenset(
                path[:at] for path in self.baseline.entries for at in range(len(path)) if path[at : at + 1] == b"/"
            )

    def walk(self, fd: int) -> Iterator[Found]:
        """Every file and symlink below an open directory, in the order of their names."""
        yield from self._walk(fd, b"", (), hidden=False, depth=0)

    def _walk(self, fd: int, prefix: bytes, stack: tuple[Rules, ...], *, hidden: bool, depth: int) -> Iterator[Found]:
        if depth > self.limits.depth:
            raise self._over(f"nested deeper than {self.limits.depth} directories", prefix)
        try:
            found = children(fd)
        except OSError as error:
            raise _unreadable(self.root, prefix, error) from error
        if not hidden and any(name == b".gitignore" for name, _ in found):
            stack = (*stack, self._rules(fd, prefix, stack, depth))
        for name, status in found:
            path = prefix + name
            is_directory = stat.S_ISDIR(status.st_mode)
            if not self._belongs(path, name):
                continue
            self._count(path)
            out = hidden or ignored(stack, path, is_directory=is_directory)
            if out and not self._tracked(path, is_directory=is_directory):
                self.ignored.add(path)
            elif is_directory:
                try:
                    with directory(name, fd) as inside:
                        yield from self._walk(inside, path + b"/", stack, hidden=out, depth=depth + 1)
                except OSError as error:
                    raise _unreadable(self.root, path, error) from error
            elif (mode := _mode(status.st_mode)) is not None:
                self._bytes += status.st_size
                if self._bytes > self.limits.bytes:
                    raise self._over(f"more than {self.limits.bytes} bytes", path)
                yield Found(path, name, fd, mode, status)
            else:
                self.notices.add("special_file", f"{shown(path)} is no part of the patch: a socket, pipe or device")

    def _tracked(self, path: bytes, *, is_directory: bool) -> bool:
        if self.baseline is None:
            return False
        return path in (self._tracked_directories if is_directory else self.baseline.entries)

    def _belongs(self, path: bytes, name: bytes) -> bool:
        if path in self.excluded or name == b".git":
            return False
        if refused_by_git(name):
            self.notices.add("name_refused_by_git", f"{shown(path)} is no part of the patch: git refuses its name")
            return False
        if self.baseline is not None and path in self.baseline.ignored:
            self.ignored.add(path)
            return False
        return True

    def _rules(self, fd: int, prefix: bytes, stack: tuple[Rules, ...], depth: int) -> Rules:
        path = prefix + b".gitignore"
        try:
            with regular_file(b".gitignore", fd) as (file, status):
                text = read_all(file, _GITIGNORE_BYTES + 1)
        except IsNotRegular:
            return Rules(depth, ())
        except OSError as error:
            if stat.S_ISLNK(os.stat(b".gitignore", dir_fd=fd, follow_symlinks=False).st_mode):
                return Rules(depth, ())  # git reads no .gitignore through a symlink either
            raise _unreadable(self.root, path, error) from error
        rules = parse(text, depth) if status.st_size <= _GITIGNORE_BYTES else Rules(depth, ())
        in_force = sum(len(other.patterns) for other in stack)
        if status.st_size > _GITIGNORE_BYTES or in_force + len(rules.patterns) > _PATTERNS:
            self.notices.add("gitignore_too_large", f"{shown(path)} is not obeyed: it is too large")
            return Rules(depth, ())
        return rules

    def _count(self, path: bytes) -> None:
        self._entries += 1
        if self._entries > self.limits.entries:
            raise self._over(f"more than {self.limits.entries} files and directories", path)

    def _over(self, what: str, path: bytes) -> InvalidSource:
        return InvalidSource(
            f"the workspace {shown(self.root)} cannot be compared: it holds {what} (reached at {shown(path)})",
            cure="put what is built into .gitignore",
        )


def _mode(mode: int) -> int | None:
    if stat.S_ISLNK(mode):
        return SYMLINK
    if stat.S_ISREG(mode):
        return EXECUTABLE if mode & 0o100 else REGULAR
    return None


def _unreadable(root: str, path: bytes, error: OSError) -> InvalidSource:
    return InvalidSource(
        f"{shown(os.path.join(os.fsencode(root), path))} cannot be read: {error.strerror}",  # noqa: PTH118 - bytes
        cure="give yourself the permission to read it (chmod u+rX), or take it out of the workspace",
    )
