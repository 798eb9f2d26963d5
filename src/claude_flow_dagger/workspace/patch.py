"""Two trees -> a patch in git's format that `git apply` takes, binary files, modes and symlinks included."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from claude_flow_dagger.errors import PatchTooLarge
from claude_flow_dagger.result import FileChange
from claude_flow_dagger.workspace.names import quoted, shown
from claude_flow_dagger.workspace.tree import SYMLINK, Entry, Tree, changed

_NOTHING: Final = bytes(20)
_EMPTY: Final = bytes.fromhex("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391")
_LARGE: Final = 8 * 1024**2
_SNIFFED: Final = 8000
"""Bytes in which git looks for a NUL to tell binary from text."""


@dataclass(frozen=True)
class Patch:
    """What changed.

    Args:
        data: git's format; not always UTF-8, since files are not.
        changes: one for each path, in the patch's order.
    """

    data: bytes
    changes: tuple[FileChange, ...]


@dataclass(frozen=True)
class Contents:
    """Where the contents of both trees are read."""

    read: Callable[[bytes], bytes]
    size: Callable[[bytes], int]


def make_patch(before: Tree, after: Tree, contents: Contents, *, max_bytes: int) -> Patch:
    """The patch from one tree to another: no renames, sorted, the same bytes for the same trees.

    Raises:
        PatchTooLarge: it would be larger than `max_bytes`, or would need eight times as much content to be compared.
    """
    parts: list[bytes] = []
    changes: list[FileChange] = []
    size = 0
    for path, old, new in changed(before, after):
        weight = sum(contents.size(side.oid) for side in (old, new) if side is not None)
        if new is not None and weight > 8 * max_bytes:
            raise _too_large(path, weight, max_bytes)
        data, change = _file(path, old, new, contents)
        size += len(data)
        if size > max_bytes:
            raise _too_large(path, len(data), max_bytes)
        parts.append(data)
        changes.append(change)
    return Patch(b"".join(parts), tuple(changes))


def _too_large(path: bytes, size: int, max_bytes: int) -> PatchTooLarge:
    return PatchTooLarge(
        f"the changes do not fit into a patch of {max_bytes} bytes: {shown(path)} alone takes {size}",
        cure="put what is built into .gitignore, so that it stays in the workspace and out of the patch",
    )


def _file(path: bytes, old: Entry | None, new: Entry | None, contents: Contents) -> tuple[bytes, FileChange]:
    if old is not None and new is not None and (old.mode == SYMLINK) != (new.mode == SYMLINK):
        gone, minus = _one(path, old, None, contents)
        made, plus = _one(path, None, new, contents)
        change = FileChange(
            path=shown(path),
            status="type_changed",
            binary=minus.binary or plus.binary,
            additions=plus.additions,
            deletions=minus.deletions,
        )
        return gone + made, change
    return _one(path, old, new, contents)


def _one(path: bytes, old: Entry | None, new: Entry | None, contents: Contents) -> tuple[bytes, FileChange]:
    status: Literal["added", "modified", "deleted"] = (
        "added" if old is None else "deleted" if new is None else "modified"
    )
    body, binary, additions, deletions = _body(path, old, new, contents)
    head = b"diff --git %s %s\n" % (quoted(b"a/" + path), quoted(b"b/" + path))
    change = FileChange(path=shown(path), status=status, binary=binary, additions=additions, deletions=deletions)
    return head + b"".join(_header(old, new)) + body, change


def _header(old: Entry | None, new: Entry | None) -> Iterator[bytes]:
    if old is None and new is not None:
        yield b"new file mode %o\n" % new.mode
    elif new is None and old is not None:
        yield b"deleted file mode %o\n" % old.mode
    elif old is not None and new is not None and old.mode != new.mode:
        yield b"old mode %o\nnew mode %o\n" % (old.mode, new.mode)
    a, b = (side.oid if side else _NOTHING for side in (old, new))
    if a != b:
        mode = b" %o" % new.mode if old is not None and new is not None and old.mode == new.mode else b""
        yield b"index %s..%s%s\n" % (a.hex().encode(), b.hex().encode(), mode)


def _body(path: bytes, old: Entry | None, new: Entry | None, contents: Contents) -> tuple[bytes, bool, int, int]:
    """Everything below the `index` line, whether it is binary, lines added, lines removed."""
    if (old.oid if old else _EMPTY) == (new.oid if new else _EMPTY):
        return b"", False, 0, 0
    if new is None and old is not None and contents.size(old.oid) > _LARGE:
        return b"GIT binary patch\n" + _literal(b""), True, 0, 0
    before, after = (contents.read(side.oid) if side else b"" for side in (old, new))
    if b"\0" in before[:_SNIFFED] or b"\0" in after[:_SNIFFED]:
        return b"GIT binary patch\n" + _literal(after) + _literal(before), True, 0, 0
    import pygit2  # here, so that importing this package stays light
    from pygit2.enums import DiffOption

    patch = pygit2.Patch.create_from(before, after, old_as_path="a", new_as_path="a", flag=DiffOption.SHOW_BINARY)
    if patch.delta.is_binary:
        return b"GIT binary patch\n" + _literal(after) + _literal(before), True, 0, 0
    data = patch.data
    _, additions, deletions = patch.line_stats
    hunks = data[data.index(b"\n@@ ") + 1 :]
    names = [b"/dev/null" if side is None else quoted(letter + path) for letter, side in ((b"a/", old), (b"b/", new))]
    # a blank in an unquoted name would end it for patch(1); git writes a tab behind it
    ends = [b"\t" if b" " in name and not name.startswith(b'"') else b"" for name in names]
    return b"--- %s%s\n+++ %s%s\n" % (names[0], ends[0], names[1], ends[1]) + hunks, False, additions, deletions


def _literal(data: bytes) -> bytes:
    """One binary hunk: deflated, in lines of 52 bytes, each with its length and base85."""
    packed = zlib.compress(data, 6)
    lines = [b"literal %d" % len(data)]
    for at in range(0, len(packed), 52):
        part = packed[at : at + 52]
        length = len(part)
        letter = 64 + length if length <= 26 else 70 + length
        lines.append(bytes([letter]) + base64.b85encode(part, pad=True))
    return b"\n".join(lines) + b"\n\n"
