"""An installed tree: pruning it, and the manifest that is its checksum."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase, translate
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import RuntimeInstallError
from claude_flow_dagger.runtime.recipes import Pruning

MANIFEST: Final = "manifest.json"
MANIFEST_VERSION: Final = 1
REINSTALL: Final = "claude-flow-dagger runtime prune, then claude-flow-dagger runtime install"


@dataclass(frozen=True)
class Entry:
    """One file of a tree; a symlink's target takes the place of its contents."""

    path: str
    size: int
    sha256: str
    mode: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a tree holds. `sha256` is over all entries and so the checksum of the tree."""

    title: str
    sha256: str
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries)


def walk(root: Path) -> Iterator[Path]:
    """Every file and symlink under `root`, the manifest excepted, in no order. Symlinks are not followed."""
    for directory, folders, names in os.walk(root):
        here = Path(directory)
        for name in names:
            if here != root or name != MANIFEST:
                yield here / name
        for name in folders:
            if (here / name).is_symlink():
                yield here / name


def size_of(root: Path) -> int:
    """Bytes of the files under `root`, which may be changing meanwhile."""
    total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            try:
                total += os.lstat(os.path.join(directory, name)).st_size  # noqa: PTH118 - many times a second
            except FileNotFoundError:
                continue
    return total


def prune_tree(root: Path, pruning: Pruning) -> None:
    """Remove what `pruning` names. Licences are never dropped: their names match none of its patterns."""
    drop = re.compile("|".join(map(translate, pruning.drop)) or r"\Z\A.")
    for path in list(walk(root)):
        relative = path.relative_to(root).as_posix()
        dropped = drop.match(relative) is not None or _is_paper(relative, pruning)
        if dropped and not any(fnmatchcase(relative, pattern) for pattern in pruning.keep):
            path.unlink()
    for directory, _, _ in os.walk(root, topdown=False):
        if directory != str(root) and not os.listdir(directory):  # noqa: PTH208
            Path(directory).rmdir()


def _is_paper(relative: str, pruning: Pruning) -> bool:
    """Whether the file lies in a docs or tests directory at the top of its package."""
    _, found, inner = ("/" + relative).rpartition("/node_modules/")
    parts = inner.split("/")
    depth = 2 if inner.startswith("@") else 1
    if not found or len(parts) <= depth + 1 or parts[depth] not in pruning.papers:
        return False
    package = "/".join(parts[:depth])
    licence = parts[-1].lower().startswith(("license", "licence", "notice", "copying"))
    return not licence and not any(fnmatchcase(package, pattern) for pattern in pruning.papers_kept)


def _entry(root: Path, path: Path) -> Entry:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        target = os.readlink(path).encode()  # noqa: PTH115 - as it is written, not resolved
        return Entry(path.relative_to(root).as_posix(), len(target), hashlib.sha256(target).hexdigest(), 0o120000)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Entry(path.relative_to(root).as_posix(), info.st_size, digest, stat.S_IMODE(info.st_mode))


def _checksum(entries: tuple[Entry, ...]) -> str:
    text = "\n".join(f"{entry.mode:o} {entry.size} {entry.sha256} {entry.path}" for entry in entries)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def write_manifest(root: Path, title: str) -> Manifest:
    """Hash the tree and write its manifest, last of all: a tree without one is not whole."""
    entries = tuple(sorted((_entry(root, path) for path in walk(root)), key=lambda entry: entry.path))
    manifest = Manifest(title=title, sha256=_checksum(entries), entries=entries)
    data = {
        "version": MANIFEST_VERSION,
        "title": title,
        "sha256": manifest.sha256,
        "files": [list(asdict(entry).values()) for entry in entries],
    }
    (root / MANIFEST).write_text(json.dumps(data, separators=(",", ":")))
    return manifest


def read_manifest(root: Path) -> Manifest | None:
    """The manifest of a tree; None when there is none that makes sense, which is what a broken install looks like."""
    try:
        data = json.loads((root / MANIFEST).read_bytes())
        if data["version"] != MANIFEST_VERSION:
            return None
        entries = tuple(Entry(str(path), int(size), str(sha), int(mode)) for path, size, sha, mode in data["files"])
        return Manifest(title=str(data["title"]), sha256=str(data["sha256"]), entries=entries)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def looks_whole(root: Path, manifest: Manifest) -> bool:
    """Whether every file is there with its size: milliseconds, for every start."""
    try:
        # Texts and not Paths: this is thousands of files at every start.
        return all(os.lstat(f"{root}/{entry.path}").st_size == entry.size for entry in manifest.entries)
    except OSError:
        return False


def verify_tree(root: Path) -> None:
    """Hash the whole tree against its manifest.

    Raises:
        RuntimeInstallError: a file is missing, added or changed; it is named.
    """
    manifest = read_manifest(root)
    if manifest is None or _checksum(manifest.entries) != manifest.sha256:
        raise RuntimeInstallError(f"{root / MANIFEST} is missing or damaged", cure=REINSTALL)
    expected = {entry.path: entry for entry in manifest.entries}
    for path in walk(root):
        relative = path.relative_to(root).as_posix()
        entry = expected.pop(relative, None)
        if entry is None:
            raise RuntimeInstallError(f"{path} does not belong to {manifest.title}", cure=REINSTALL)
        if _entry(root, path) != entry:
            raise RuntimeInstallError(f"{path} was changed after {manifest.title} was installed", cure=REINSTALL)
    for relative in expected:
        raise RuntimeInstallError(f"{root / relative} is missing from {manifest.title}", cure=REINSTALL)
