"""What of a `.git` directory enters a copy: enough to read history, nothing that runs or holds credentials. Pure."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final


class Room(Enum):
    """Where in a tree a directory is, as far as the rules differ."""

    PLAIN = auto()
    GIT = auto()
    """A git directory: `.git`, or a submodule's below `modules`."""
    MODULES = auto()
    """`modules`, or a directory below it that only groups submodules."""
    OBJECTS = auto()
    OBJECTS_INFO = auto()
    LOGS = auto()
    INSIDE = auto()
    """Anything else within a git directory: copied as it is, without symlinks."""


class Act(Enum):
    """What becomes of one entry."""

    COPY = auto()
    CONFIG = auto()
    """Cut down by `gitconfig.sanitised`."""
    STRIP = auto()
    """Credentials in URLs are taken out (reflogs: older gits wrote the cloned URL with its password)."""
    DROP = auto()
    """Left out silently, since git makes it anew or the sandbox has no use for it."""
    TELL = auto()
    """Left out, with a notice."""


_DIRECTORIES: Final = {
    b"objects": Room.OBJECTS,
    b"refs": Room.INSIDE,
    b"logs": Room.LOGS,
    b"info": Room.INSIDE,
    b"modules": Room.MODULES,
    b"lfs": Room.INSIDE,
    b"reftable": Room.INSIDE,
}
_FILES: Final = {
    b"HEAD",
    b"ORIG_HEAD",
    b"MERGE_HEAD",
    b"CHERRY_PICK_HEAD",
    b"REVERT_HEAD",
    b"index",
    b"packed-refs",
} | {
    b"shallow",
    b"description",
}
_EXPECTED: Final = {b"hooks", b"FETCH_HEAD", b"COMMIT_EDITMSG", b"branches", b"MERGE_MSG", b"MERGE_MODE", b"AUTO_MERGE"}
_URL_USER: Final = re.compile(rb"(://)[^/\s@]+@")


def rule(  # noqa: PLR0911 - one line for each room
    room: Room, name: bytes, *, is_directory: bool, is_link: bool
) -> tuple[Act, Room]:
    """What becomes of an entry of a directory in `room`, and the room of its own entries.

    Args:
        room: of the directory that holds the entry.
        name: the entry's.
        is_directory: and not a link to one.
        is_link: a symlink.
    """
    if name == b".git" and room is Room.PLAIN:
        return (Act.COPY, Room.GIT) if is_directory else (Act.TELL, Room.PLAIN)
    if room is Room.PLAIN:
        return Act.COPY, Room.PLAIN
    if is_link:
        return (Act.COPY if room is Room.GIT and name == b"HEAD" else Act.TELL), room
    if room is Room.GIT:
        return _in_git(name, is_directory=is_directory)
    if room is Room.OBJECTS and name == b"info" and is_directory:
        return Act.COPY, Room.OBJECTS_INFO
    if room is Room.OBJECTS_INFO and name in {b"alternates", b"http-alternates"}:
        return Act.TELL, room
    if room is Room.LOGS:
        return (Act.COPY if is_directory else Act.STRIP), room
    if room is Room.MODULES:
        return (Act.COPY if is_directory else Act.TELL), room
    return Act.COPY, Room.INSIDE


def _in_git(name: bytes, *, is_directory: bool) -> tuple[Act, Room]:
    if is_directory and name in _DIRECTORIES:
        return Act.COPY, _DIRECTORIES[name]
    if not is_directory and (name in _FILES or name.startswith(b"sharedindex.")):
        return Act.COPY, Room.INSIDE
    if not is_directory and name == b"config":
        return Act.CONFIG, Room.INSIDE
    return (Act.DROP if name in _EXPECTED else Act.TELL), Room.INSIDE


def stripped(log: bytes) -> bytes:
    """A reflog without the user and password of the URLs in it."""
    return _URL_USER.sub(rb"\1", log)
