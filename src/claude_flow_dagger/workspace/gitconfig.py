"""A `.git/config` cut down to what reading history needs. Pure.

Git runs commands that its configuration names (fsmonitor, filters, textconv, hooks, credential helpers, aliases) and
keeps credentials in it (`http.extraHeader`, user:password in URLs), so only an allow-list is written again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

_CORE: Final = {b"repositoryformatversion", b"filemode", b"bare", b"ignorecase", b"symlinks"}
_EXTENSIONS: Final = {b"objectformat", b"refstorage", b"compatobjectformat", b"noop", b"noop-v1"}
_WORD: Final = re.compile(rb"[A-Za-z0-9-]{1,40}")
_HEADER: Final = re.compile(rb'\s*\[\s*([A-Za-z0-9.-]+)\s*(?:"((?:[^"\\\n]|\\.)*)")?\s*\]')
_KEY: Final = re.compile(rb"\s*([A-Za-z][A-Za-z0-9-]*)[ \t]*(=)?")
_SCP: Final = re.compile(r"(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9._-]+:[^:].*")
_ESCAPED: Final = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b'"': b'"', b"\\": b"\\"}

MINIMAL: Final = b'[core]\n\trepositoryformatversion = "0"\n\tfilemode = "true"\n'
"""Written when there is no readable configuration."""


def sanitised(config: bytes) -> bytes:
    """The allowed part of a git configuration, written anew.

    Kept: a few `core` keys, the repository's format extensions, `remote.*.url|pushurl|fetch` (without credentials),
    `branch.*.remote|merge`. Everything else, includes first of all, is dropped. A file that cannot be parsed becomes
    `MINIMAL`.
    """
    try:
        items = list(_items(config))
    except ValueError:
        return MINIMAL
    out: list[bytes] = []
    heading = b""
    for section, subsection, key, value in items:
        kept = _kept(section, subsection, key, value)
        if kept is None:
            continue
        title = section if subsection is None else section + b' "' + _escape(subsection) + b'"'
        if title != heading:
            out.append(b"[" + title + b"]\n")
            heading = title
        out.append(b"\t" + key + b' = "' + _escape(kept) + b'"\n')
    return b"".join(out) or MINIMAL


def without_credentials(url: str) -> str | None:
    """A remote's URL without user, password and query; None when the address could run a command or is unknown."""
    if any(ord(c) < 0x20 for c in url) or url.startswith("-") or "::" in url.split("/", 1)[0]:
        return None
    if "://" not in url:
        return url if url.startswith(("/", "./", "../")) or _SCP.fullmatch(url) else None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in {"http", "https", "ssh", "git", "file"}:
        return None
    if parts.scheme == "file":
        return f"file://{parts.path}"
    if not host or host.startswith("-"):
        return None
    place = f"[{host}]" if ":" in host else host
    user = f"{parts.username}@" if parts.scheme == "ssh" and parts.username else ""
    return f"{parts.scheme}://{user}{place}{f':{port}' if port else ''}{parts.path}"


def _kept(section: bytes, subsection: bytes | None, key: bytes, value: bytes) -> bytes | None:
    if subsection is None:
        allowed = {b"core": _CORE, b"extensions": _EXTENSIONS}.get(section, set())
        return value if key in allowed and _WORD.fullmatch(value) else None
    if section == b"remote" and key in {b"url", b"pushurl"}:
        url = without_credentials(value.decode("utf-8", "replace"))
        return None if url is None else url.encode()
    if (section == b"remote" and key == b"fetch") or (section == b"branch" and key in {b"remote", b"merge"}):
        return None if b"://" in value or b"\n" in value else value
    return None


def _escape(value: bytes) -> bytes:
    return value.replace(b"\\", b"\\\\").replace(b'"', b'\\"').replace(b"\n", b"\\n").replace(b"\t", b"\\t")


def _items(config: bytes) -> Iterator[tuple[bytes, bytes | None, bytes, bytes]]:
    """Section, subsection, key and value of every variable, names in lower case."""
    text = config.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
    at, section, subsection = 0, b"", None
    while at < len(text):
        if text[at : at + 1] in b" \t\n":
            at += 1
        elif text[at : at + 1] in b"#;":
            at = _line_end(text, at)
        elif header := _HEADER.match(text, at):
            at = header.end()
            section, _, old_style = header[1].lower().partition(b".")
            subsection = re.sub(rb"\\(.)", rb"\1", header[2]) if header[2] is not None else old_style or None
        elif (found := _KEY.match(text, at)) and section:
            value, at = _value(text, found.end()) if found[2] else (b"true", _line_end(text, found.end()))
            yield section, subsection, found[1].lower(), value
        else:
            raise ValueError("not a git configuration")


def _line_end(text: bytes, at: int) -> int:
    end = text.find(b"\n", at)
    return len(text) if end < 0 else end


def _value(text: bytes, at: int) -> tuple[bytes, int]:
    """One value with its quotes, escapes and continued lines undone, and where it ends."""
    out = bytearray()
    keep = 0  # trailing blanks outside quotes are no part of the value
    inside = False
    while at < len(text):
        char = text[at : at + 1]
        at += 1
        if char == b"\\":
            following = text[at : at + 1]
            at += 1
            if following != b"\n":
                if following not in _ESCAPED:
                    raise ValueError("unknown escape")
                out += _ESCAPED[following]
                keep = len(out)
        elif char == b'"':
            inside = not inside
            keep = len(out)
        elif char == b"\n":
            break
        elif char in b"#;" and not inside:
            at = _line_end(text, at)
            break
        else:
            out += char
            if inside or char not in b" \t":
                keep = len(out)
    if inside:
        raise ValueError("a quote is not closed")
    return bytes(out[:keep]).lstrip(b" \t") if not inside else bytes(out), at
