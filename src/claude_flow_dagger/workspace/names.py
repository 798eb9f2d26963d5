"""File names as bytes: shown to people, and judged. Pure."""

from __future__ import annotations

import os
from typing import Final

_ESCAPES: Final = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}


def quoted(path: bytes) -> bytes:
    """A path as git writes it in a patch's header: plain, or in double quotes with C escapes when it needs them."""
    if not any(byte < 0x20 or byte >= 0x7F or byte in (0x22, 0x5C) for byte in path):
        return path
    parts = (_ESCAPES.get(b) or (chr(b) if 0x20 <= b < 0x7F else f"\\{b:03o}") for b in path)
    return b'"' + "".join(parts).encode() + b'"'


def shown(path: bytes | str) -> str:
    """A path for messages and results: as it is when it is printable Unicode, else quoted as git would.

    Always encodable as UTF-8, without control or bidirectional characters.
    """
    raw = os.fsencode(path)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return quoted(raw).decode("ascii")
    if text.isprintable() and '"' not in text and "\\" not in text:
        return text
    return quoted(raw).decode("ascii")


def leads_out(link: bytes, target: bytes) -> bool:
    """Whether a symlink at `link` (relative to the root) names something outside the root, by its text alone."""
    if target.startswith(b"/"):
        return True
    depth = link.count(b"/")
    for part in target.split(b"/"):
        if part == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in (b"", b"."):
            depth += 1
    return False


def refused_by_git(name: bytes) -> bool:
    """Whether git refuses a path component, in every patch and on every platform: `.git` and what some systems take
    for it (`.GIT`, `git~1`, `.git.`, `.git::$INDEX_ALLOCATION`; git's `verify_path` and `is_ntfs_dotgit`)."""
    folded = name.lower()
    if folded.startswith(b".git"):
        rest = folded[4:]
    elif folded.startswith(b"git~1"):
        rest = folded[5:]
    else:
        return False
    stripped = rest.lstrip(b". ")
    return stripped == b"" or stripped[:1] in (b":", b"\\")
