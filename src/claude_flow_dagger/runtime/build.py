"""Building one tree: into a directory beside its place, then renamed, under the tree's lock."""

from __future__ import annotations

import errno
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import OutOfSpace, RuntimeInstallError
from claude_flow_dagger.runtime import npm
from claude_flow_dagger.runtime.locking import exclusive
from claude_flow_dagger.runtime.platforms import Node
from claude_flow_dagger.runtime.process import run
from claude_flow_dagger.runtime.recipes import Recipe
from claude_flow_dagger.runtime.tree import looks_whole, prune_tree, read_manifest, size_of, write_manifest

TEMPORARY: Final = ".tmp-"
MEASURE_EVERY_S: Final = 0.7
SPACE_FACTOR: Final = 1.6
"""Room for the unpacked tree and npm's cache of what it downloads."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far the install of one tree is.

    Args:
        tree: `claude-flow 3.43.0` or `claude-code 2.1.330`; both grow at once.
        step: what is being done, for people.
        done: bytes of the tree so far.
        total: bytes that it will have; None while that cannot be told.
    """

    tree: str
    step: str
    done: int = 0
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Rooms:
    """Directories inside the user's cache directory."""

    cache: Path

    @property
    def trees(self) -> Path:
        """Holds one directory a tree, and temporary ones."""
        return self.cache / "runtime"

    @property
    def locks(self) -> Path:
        """Lock files, one a tree; they stay."""
        return self.cache / "locks"

    @property
    def npm_cache(self) -> Path:
        """npm's downloads: a second install is then quicker and works offline."""
        return self.cache / "npm"

    def lock(self, tree_id: str) -> Path:
        """The lock file of a tree."""
        return self.locks / f"{tree_id}.lock"

    def make(self) -> None:
        """Make the directories.

        Raises:
            RuntimeInstallError, OutOfSpace: they cannot be made.
        """
        try:
            for directory in (self.cache, self.trees, self.locks, self.npm_cache):
                directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _from_os(error, self.cache) from error


def _from_os(error: OSError, where: Path) -> RuntimeInstallError | OutOfSpace:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return OutOfSpace(f"no space left in {where}", cure="free some space, or set XDG_CACHE_HOME to another disk")
    return RuntimeInstallError(
        f"{error.filename or where}: {error.strerror}", cure="the cache directory must be writable: set XDG_CACHE_HOME"
    )


def is_whole(root: Path) -> bool:
    """Whether a tree is there with every file in its size."""
    manifest = read_manifest(root)
    return manifest is not None and looks_whole(root, manifest)


def build_tree(
    rooms: Rooms,
    node: Node,
    recipe: Recipe,
    *,
    environ: Mapping[str, str],
    cancel: threading.Event,
    on_progress: Callable[[Progress], None],
) -> Path:
    """The tree, built if it is not there whole. Two processes at once are safe: the second waits and finds it.

    Raises:
        RuntimeInstallError, OutOfSpace: it could not be built; nothing half-built is left in its place.
    """
    tree_id = recipe.tree_id(node.version)
    place = rooms.trees / tree_id

    def on_wait() -> None:
        on_progress(Progress(tree=recipe.title, step="waiting for another process that installs or uses it"))

    try:
        with exclusive(rooms.lock(tree_id), cancel=cancel, on_wait=on_wait):
            _remove_leftovers(rooms.trees, tree_id)
            if not is_whole(place):
                _build(rooms, node, recipe, place, environ=environ, cancel=cancel, on_progress=on_progress)
    except OSError as error:
        if isinstance(error, OutOfSpace):
            raise
        raise _from_os(error, rooms.cache) from error
    return place


def _remove_leftovers(trees: Path, tree_id: str) -> None:
    for leftover in trees.glob(f"{TEMPORARY}{tree_id}-*"):
        remove(leftover)


def remove(directory: Path) -> None:
    """Remove a tree, also while a process that is about to end still writes into it."""
    for _ in range(20):
        with suppress(FileNotFoundError):
            shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)
    shutil.rmtree(directory)


def _build(
    rooms: Rooms,
    node: Node,
    recipe: Recipe,
    place: Path,
    *,
    environ: Mapping[str, str],
    cancel: threading.Event,
    on_progress: Callable[[Progress], None],
) -> None:
    if recipe.native:
        npm.check_compiler(recipe.title, environ)
    need = int(recipe.unpacked * SPACE_FACTOR)
    free = shutil.disk_usage(rooms.trees).free
    if free < need:
        raise OutOfSpace(
            f"{recipe.title} needs {need // 10**6} MB in {rooms.trees}, and {free // 10**6} MB are free",
            cure="free some space, or set XDG_CACHE_HOME to another disk",
        )
    work = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{place.name}-", dir=rooms.trees))
    try:
        tree, home, temporary = work / "tree", work / "home", work / "tmp"
        for directory in (tree, home, temporary):
            directory.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(recipe.lock_dir / name, tree / name)
        env = npm.environment(node, home=home, npm_cache=rooms.npm_cache, temporary=temporary, environ=environ)
        watch = _Watch(recipe, tree, on_progress)
        watch.step("downloading and unpacking")
        npm.install(node, recipe.title, into=tree, env=env, cancel=cancel, on_tick=watch.tick)
        for package in recipe.native:
            watch.step(f"compiling {package} (minutes)")
            npm.compile_package(
                node, tree / "node_modules" / package,
                env=env, path=environ.get("PATH", ""), cancel=cancel, on_tick=watch.tick,
            )  # fmt: skip
        watch.step("checking")
        _put_right(tree, recipe)
        _check(node, tree, recipe, home=home, temporary=temporary, cancel=cancel)
        manifest = write_manifest(tree, recipe.title)
        if place.exists():
            place.rename(work / "broken")
        tree.rename(place)
        on_progress(Progress(tree=recipe.title, step="installed", done=manifest.size, total=manifest.size))
    finally:
        remove(work)


class _Watch:
    """Reports a growing tree. npm tells nothing of its progress without a terminal."""

    def __init__(self, recipe: Recipe, tree: Path, on_progress: Callable[[Progress], None]) -> None:
        self._recipe, self._tree, self._on_progress = recipe, tree, on_progress
        self._step = ""
        self._measured = 0.0

    def step(self, text: str) -> None:
        self._step = text
        self._measured = 0.0
        self.tick()

    def tick(self) -> None:
        if time.monotonic() - self._measured < MEASURE_EVERY_S:
            return
        total = self._recipe.unpacked
        done = min(size_of(self._tree), total)
        self._on_progress(Progress(tree=self._recipe.title, step=self._step, done=done, total=total))
        self._measured = time.monotonic()


def _put_right(tree: Path, recipe: Recipe) -> None:
    if recipe.pruning is not None:
        prune_tree(tree, recipe.pruning)
    for path, target in recipe.links.items():
        link = tree / path
        if not (link.parent / target).exists():
            raise RuntimeInstallError(
                f"{recipe.title} lacks what {path} shall point to: {target}", cure="report it: its lock has changed"
            )
        if not link.exists():
            link.symlink_to(target)
    for path, content in recipe.files.items():
        (tree / path).write_text(content)


def _check(node: Node, tree: Path, recipe: Recipe, *, home: Path, temporary: Path, cancel: threading.Event) -> None:
    """Run what was installed once, with a home of its own."""
    entry = tree / recipe.entry
    env = {"PATH": str(node.executable.parent), "HOME": str(home), "TMPDIR": str(temporary), "CI": "true"}
    env |= {"CLAUDE_CONFIG_DIR": str(home), "RUFLO_DAEMON_AUTOSTART": "0", "CLAUDE_FLOW_AUTO_UPDATE": "false"}
    launcher = [str(node.executable)] if recipe.with_node else []
    ended = run(
        [*launcher, entry, "--version"], cwd=home, env=env, timeout_s=60, cancel=cancel, is_node=recipe.with_node
    )
    if ended.code != 0 or recipe.says not in ended.output:
        raise npm.failure(f"{recipe.title} was installed and does not run", tree, ended)
    for package in recipe.native:
        load = [str(node.executable), "-e", f"require({str(tree / 'node_modules' / package)!r})"]
        ended = run(load, cwd=home, env=env, timeout_s=60, cancel=cancel, is_node=True)
        if ended.code != 0:
            raise npm.failure(f"{package} was compiled and does not load", tree, ended)
