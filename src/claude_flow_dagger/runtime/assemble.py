"""Puts one part of /opt/claude-flow-dagger together while an image is built; with nothing but Python's own library.

    python3 -m claude_flow_dagger.runtime.assemble node|claude-flow|claude-code VERSION OUT

The trees are those of the local runtime, made by the same code: locks, pruning, cures and checks are written once.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from claude_flow_dagger.errors import ClaudeFlowDaggerError, InvalidJob, RuntimeInstallError
from claude_flow_dagger.runtime.build import Progress, Rooms, build_tree
from claude_flow_dagger.runtime.platforms import Node, claude_platform
from claude_flow_dagger.runtime.recipes import Recipe, claude_code_recipe, claude_flow_recipe

WORK: Final = Path("/build")
"""npm's cache below it is a cache mount of the build."""
EPOCH: Final = 1767225600
"""The time of every file, so that the same contents are the same layer: 2026-01-01."""


@dataclass(frozen=True, kw_only=True)
class _Versions:
    claude_flow: str
    claude_code: str


def find_image_node(expected: str | None = None) -> Node:
    """The Node of the build stage.

    Args:
        expected: its version, which the image's label tells; None for any.

    Raises:
        RuntimeInstallError: it is missing, or another one.
    """
    executable = shutil.which("node")
    if executable is None:
        raise RuntimeInstallError("the image named by NODE_IMAGE has no node", cure="name one of Node's own images")
    done = subprocess.run([executable, "--version"], capture_output=True, text=True, timeout=60, check=True)
    version = done.stdout.strip().removeprefix("v")
    if expected is not None and version != expected:
        raise RuntimeInstallError(
            f"NODE_IMAGE has Node {version}, and NODE_VERSION says {expected}", cure="give both build arguments"
        )
    return Node(root=Path(executable).resolve().parents[1], version=version)


def pick_recipe(name: str, version: str) -> Recipe:
    """The recipe of a tree for the platform of this stage.

    Raises:
        InvalidJob: this package has no lock for that version.
    """
    # Pins itself would bring pydantic into the build; an unknown version falls through their `match`.
    platform = claude_platform()
    pins: Any = _Versions(claude_flow=version, claude_code=version)
    recipe: Recipe | None = (
        claude_flow_recipe(pins, platform) if name == "claude-flow" else claude_code_recipe(pins, platform)
    )
    if recipe is None or not recipe.lock_dir.is_dir():
        raise InvalidJob(f"there is no lock for {name} {version} on {platform}", cure="use a version that has one")
    return recipe


def settle(root: Path) -> None:
    """Readable by everybody, writable by nobody but root, without setuid, all of one time."""
    for directory, folders, names in os.walk(root, topdown=False):
        for name in [*names, *folders]:
            path = Path(directory, name)
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(0o755 if stat.S_ISDIR(mode) or mode & stat.S_IXUSR else 0o644)
            os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (EPOCH, EPOCH))


def assemble(name: str, version: str, out: Path) -> None:
    """Make one part in `out`, a directory that does not exist.

    Raises:
        ClaudeFlowDaggerError: it cannot be made; the message says why.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    if name == "node":
        node = find_image_node(version)
        (out / "bin").mkdir(parents=True)
        shutil.copyfile(node.executable, out / "bin" / "node")
        (out / "bin" / "node").chmod(0o755)
        for licence in node.root.glob("LICENSE*"):
            shutil.copyfile(licence, out / licence.name)
    else:
        recipe = pick_recipe(name, version)
        rooms = Rooms(cache=WORK)
        rooms.make()
        environ = {name: value for name, value in os.environ.items() if value}
        place = build_tree(
            rooms, find_image_node(), recipe, environ=environ, cancel=threading.Event(), on_progress=_report
        )
        if recipe.with_node:
            place.rename(out)
        else:
            # One executable, at a place that does not tell its platform.
            out.mkdir()
            for path in (place / recipe.entry, *(place / recipe.entry).parent.glob("LICENSE*")):
                shutil.move(path, out / path.name)
            shutil.rmtree(place)
    settle(out)


def _report(progress: Progress) -> None:
    print(f"{progress.tree}: {progress.step}, {progress.done // 10**6} MB", flush=True)


def main(argv: list[str]) -> int:
    """The command line of the Dockerfile."""
    name, version, out = argv
    try:
        assemble(name, version, Path(out))
    except ClaudeFlowDaggerError as error:
        print(f"error: {error.message}\n  cure: {error.cure}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
