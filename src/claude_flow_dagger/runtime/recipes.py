"""What each installed tree is made of: its lock, what is left out, what is put right, what is compiled. Pure.

What was measured and what is broken upstream: 3.43.0 and 2.7.47 on Node 24.19, Debian 12.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # Builds of images run this without pydantic.
    from claude_flow_dagger.job import Pins

LOCKS: Final = Path(__file__).parent / "locks"
MB: Final = 1_000_000

_SOURCES: Final = ("*.map", "*.d.ts", "*.d.mts", "*.d.cts")
"""Nothing loads these; a path pattern, in which `*` also matches `/`."""
_PACKAGE_PAPERS: Final = ("docs", "doc", "test", "tests", "__tests__", "example", "examples")
"""Directories at the top of a package that are for its readers, not its users."""


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """What a tree does without. Patterns match the path relative to the tree (fnmatch: `*` matches `/` too).

    Args:
        drop: files to remove.
        keep: exceptions from `drop`.
        papers_kept: packages whose docs and tests directories stay, since they are not only that.
    """

    drop: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    papers: tuple[str, ...] = _PACKAGE_PAPERS
    papers_kept: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One tree. Paths are relative to it.

    Args:
        name: what people call it, `claude-flow` or `claude-code`.
        lock: directory under `locks/`.
        entry: what is run, relative to the tree.
        with_node: whether `entry` is a script for Node and not an executable.
        says: a text that `entry --version` prints when all is well.
        unpacked: bytes that `npm ci` writes, measured; for progress and the check for space.
        native: packages that are compiled here, with Node's headers.
        links: symlinks to make, path to target.
        files: files to write over what npm unpacked.
        platform: the platform that the tree is for; empty when any will do.
    """

    name: str
    version: str
    lock: str
    entry: str
    with_node: bool
    says: str
    unpacked: int
    pruning: Pruning | None = None
    native: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    platform: str = ""

    @property
    def title(self) -> str:
        """For people: `claude-flow 3.43.0`."""
        return f"{self.name} {self.version}"

    @property
    def lock_dir(self) -> Path:
        """Where package.json and package-lock.json are."""
        return LOCKS / self.lock

    def tree_id(self, node_version: str) -> str:
        """The tree's directory name: the same for the same contents, another when anything that makes it differs.

        Raises:
            OSError: the lock is not there.
        """
        digest = hashlib.sha256()
        for name in ("package.json", "package-lock.json"):
            digest.update((self.lock_dir / name).read_bytes())
        digest.update(repr((self.pruning, self.native, self.platform)).encode())
        digest.update(json.dumps([dict(self.links), dict(self.files)], sort_keys=True).encode())
        if self.native:
            digest.update(node_version.encode())
        parts = [self.name, self.version, *([self.platform] if self.platform else []), digest.hexdigest()[:12]]
        return "-".join(parts)


_CLAUDE_FLOW_3: Final = Recipe(
    name="claude-flow",
    version="3.43.0",
    lock="claude-flow-3.43.0",
    entry="node_modules/claude-flow/bin/cli.js",
    with_node=True,
    says="v3.43.0",
    unpacked=92 * MB,
    pruning=Pruning(
        drop=(
            *_SOURCES,
            "node_modules/sql.js/dist/*",
            "*/node_modules/rxjs/src/*",
            "node_modules/rxjs/src/*",
            "*/zod/src/*",
        ),
        keep=("node_modules/sql.js/dist/sql-wasm.js", "node_modules/sql.js/dist/sql-wasm.wasm"),
        papers_kept=("claude-flow", "@claude-flow/*"),
    ),
    # Plain `init` looks for .claude/helpers/statusline.cjs beside the inner CLI and finds nothing there (seen, 3.43.0).
    links={"node_modules/claude-flow/v3/@claude-flow/cli/.claude": "../../../.claude"},
)

_SHARP_STUB: Final = (
    "// Images are not handled here: text embeddings need only that this module loads.\n"
    'module.exports = function sharp() { throw new Error("sharp is not part of this runtime"); };\n'
)

_ONNX_ELSEWHERE: Final = {
    "linux-x64": ("win32", "darwin", "linux/arm64"),
    "linux-arm64": ("win32", "darwin", "linux/x64"),
    "darwin-x64": ("win32", "linux", "darwin/arm64"),
    "darwin-arm64": ("win32", "linux", "darwin/x64"),
}


def _claude_flow_2(platform: str) -> Recipe:
    """2.7.47: `memory` needs better-sqlite3 and hnswlib-node compiled, onnxruntime-node there and `sharp` to load."""
    machine = platform.removesuffix("-musl")
    onnx = tuple(f"node_modules/onnxruntime-node/bin/napi-v3/{name}/*" for name in _ONNX_ELSEWHERE.get(machine, ()))
    return Recipe(
        name="claude-flow",
        version="2.7.47",
        lock="claude-flow-2.7.47",
        entry="node_modules/claude-flow/bin/claude-flow.js",
        with_node=True,
        says="v2.7.47",
        unpacked=560 * MB,
        pruning=Pruning(
            drop=(
                *_SOURCES,
                *onnx,
                "node_modules/sql.js/dist/*",
                "node_modules/rxjs/src/*",
                "*/zod/src/*",
                "node_modules/better-sqlite3/deps/*",
                "node_modules/better-sqlite3/build/*",
                "node_modules/hnswlib-node/build/*",
            ),
            keep=(
                "node_modules/sql.js/dist/sql-wasm.js",
                "node_modules/sql.js/dist/sql-wasm.wasm",
                "node_modules/better-sqlite3/build/Release/better_sqlite3.node",
                "node_modules/hnswlib-node/build/Release/addon.node",
            ),
            papers_kept=("claude-flow", "agentic-flow", "agentdb"),
        ),
        native=("better-sqlite3", "hnswlib-node"),
        files={"node_modules/sharp/lib/index.js": _SHARP_STUB},
        platform=platform,
    )


def claude_flow_recipe(pins: Pins, platform: str) -> Recipe:
    """The tree of the pinned claude-flow; `platform` matters only where something is compiled."""
    match pins.claude_flow:
        case "3.43.0":
            return _CLAUDE_FLOW_3
        case "2.7.47":
            return _claude_flow_2(platform)


def claude_code_recipe(pins: Pins, platform: str) -> Recipe:
    """The tree of the pinned Claude Code: one executable and its licence."""
    return Recipe(
        name="claude-code",
        version=pins.claude_code,
        lock=f"claude-code-{pins.claude_code}-{platform}",
        entry=f"node_modules/@anthropic-ai/claude-code-{platform}/claude",
        with_node=False,
        says=pins.claude_code,
        unpacked=382 * MB,
        platform=platform,
    )
