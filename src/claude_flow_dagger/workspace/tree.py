"""What a directory held at one moment: paths, kinds and content ids. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from claude_flow_dagger.result import Notice

REGULAR: Final = 0o100644
EXECUTABLE: Final = 0o100755
SYMLINK: Final = 0o120000


@dataclass(frozen=True, slots=True)
class Stamp:
    """By what a file is known to be untouched since it was hashed; times in nanoseconds."""

    device: int
    inode: int
    size: int
    mtime: int
    ctime: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One file or symlink.

    Args:
        mode: one of git's: `REGULAR`, `EXECUTABLE`, `SYMLINK`.
        oid: git's id of the content, 20 bytes.
        stamp: None where the file changed too shortly before it was hashed.
    """

    mode: int
    oid: bytes
    stamp: Stamp | None = None

    def same(self, other: Entry | None) -> bool:
        """Whether kind and content are equal."""
        return other is not None and (self.mode, self.oid) == (other.mode, other.oid)


@dataclass(frozen=True)
class Tree:
    """A snapshot.

    Args:
        entries: by path; names joined by `/`, as bytes.
        ignored: what `.gitignore` kept out, directories as a whole.
        notices: what could not be taken in, and why.
    """

    entries: Mapping[bytes, Entry]
    ignored: frozenset[bytes] = frozenset()
    notices: tuple[Notice, ...] = ()

    @property
    def oid(self) -> str:
        """Git's id of the tree (40 hexadecimal digits): equal for equal contents, on any machine."""
        root: dict[bytes, object] = {}
        for path, entry in self.entries.items():
            *parents, name = path.split(b"/")
            place = root
            for parent in parents:
                place = place.setdefault(parent, {})  # type: ignore[assignment]
            place[name] = entry
        return _tree_id(root).hex()


def _tree_id(tree: dict[bytes, object]) -> bytes:
    rows: list[tuple[bytes, bytes]] = []
    for name, value in tree.items():
        if isinstance(value, Entry):
            rows.append((name, b"%o %s\0%s" % (value.mode, name, value.oid)))
        elif isinstance(value, dict):
            rows.append((name + b"/", b"40000 %s\0%s" % (name, _tree_id(value))))
    data = b"".join(row for _, row in sorted(rows))
    return hashlib.sha1(b"tree %d\0" % len(data) + data, usedforsecurity=False).digest()


def changed(before: Tree, after: Tree) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
    """Every path whose kind or content differs, sorted, with both sides."""
    for path in sorted(before.entries.keys() | after.entries.keys()):
        old, new = before.entries.get(path), after.entries.get(path)
        if old is None or not old.same(new):
            yield path, old, new
