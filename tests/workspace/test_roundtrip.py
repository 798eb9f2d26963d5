"""copy, mutate, diff: the real `git apply` and our own `apply` both give the mutated tree, byte for byte."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workspace_trees import Files, consistent, git_apply, read_tree, trees, write_tree

from claude_flow_dagger.workspace.apply import apply, unchanged
from claude_flow_dagger.workspace.copy import copy_tree
from claude_flow_dagger.workspace.names import refused_by_git
from claude_flow_dagger.workspace.snapshot import Snapshots


def representable(files: Files) -> Files:
    return {p: v for p, v in files.items() if not any(refused_by_git(n) for n in p.split(b"/"))}


@st.composite
def mutations(draw: st.DrawFn) -> tuple[Files, Files]:
    """Two trees that share a part, so that modes, kinds and contents change in place as well."""
    before, extra = draw(trees), draw(trees)
    kept = {path: leaf for path, leaf in before.items() if draw(st.booleans())}
    after = consistent({**kept, **extra})
    for path in kept:
        if path in after and draw(st.booleans()):
            kind, data = after[path]
            after[path] = draw(st.sampled_from([("f", data), ("x", data), ("f", data + b"more\n"), (kind, data)]))
            if kind == "l":
                after[path] = ("f", data)
    return before, after


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutations())
def test_patch_and_apply_give_the_mutated_tree(pair: tuple[Files, Files]) -> None:
    before, after = (representable(files) for files in pair)
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        source, plain, work, store = top / "source", top / "plain", top / "work", top / "store"
        source.mkdir()
        write_tree(source, before)
        copy_tree(source, plain)
        copy_tree(source, work)
        snapshots = Snapshots(store)
        first = snapshots.take(work)
        assert read_tree(work) == read_tree(source) == before
        for path in sorted(work.iterdir()):
            remove(path)
        write_tree(work, after)
        second = snapshots.take(work, baseline=first)
        if b".gitignore" not in {p.rsplit(b"/", 1)[-1] for p in (*before, *after)}:
            patch = snapshots.diff(first, second)
            assert patch == snapshots.diff(first, second)
            assert (patch.data == b"") == (before == after)
            git_apply(plain, patch.data)
            assert read_tree(plain) == after
            assert unchanged(source, first, snapshots) == []
            apply(source, first, second, snapshots)
            assert read_tree(source) == after
            assert unchanged(source, second, snapshots) == []


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            remove(child)
        path.rmdir()
    else:
        path.unlink()
