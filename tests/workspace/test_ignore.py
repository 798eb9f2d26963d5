"""`.gitignore` is read as the real git reads it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from workspace_trees import git, write_tree

from claude_flow_dagger.workspace.ignore import ignored, parse
from claude_flow_dagger.workspace.snapshot import Snapshots

_parts = [
    "a",
    "b",
    "ab",
    "*",
    "**",
    "?",
    "/",
    "\\",
    "!",
    "#",
    " ",
    "[ab]",
    "[!a]",
    "[a-c]",
    "[]]",
    "[",
    "]",
    "***",
    ".",
]
_parts += [
    "[[:alpha:]]",
    "[[:bad:]]",
    "[a/b]",
    "\\a",
    "\\*",
    "a*b",
    "**/",
    "/**",
    "\r",
    "[\\]]",
    "[b-a]",
    "[a-]",
    "[^-a]",
]
_line = st.lists(st.sampled_from(_parts), max_size=6).map("".join)
_gitignore = st.lists(_line, min_size=1, max_size=4).map("\n".join).map(str.encode)
PATHS = [b"a", b"b", b"ab", b"d/a", b"d/b", b"d/e/a", b"d/e/ab", b"a b", b"x-", b"d/]", b"e/*", b"e/#", b"e/!a", b"e/ "]
PATHS += [b"f/[", b"f/\\", b"f/a ", b"aab", b"abb/aXb/b", b"c/.a"]


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(_gitignore, _gitignore)
@example(b"**/e\n!d/e/a\n/a*b", b"!a\n*\n!ab")
@example(b"a/**/b\nabb/**", b"/**/a")
@example(b"d/**/ab\n[]-a]\n\\!a", b"a \nb\\ ")
def test_the_same_files_as_git(top: bytes, inner: bytes) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "w"
        root.mkdir()
        write_tree(root, {p: ("f", b"1") for p in PATHS if not any(p.startswith(q + b"/") for q in PATHS)})
        (root / ".gitignore").write_bytes(top)
        (root / "d/.gitignore").write_bytes(inner)
        assert git("init", "-q", cwd=root).returncode == 0
        listed = git("ls-files", "-z", "--others", "--exclude-standard", cwd=root)
        expected = {path for path in listed.stdout.split(b"\0") if path}
        assert set(Snapshots(Path(temporary) / "store").take(root).entries) == expected


@pytest.mark.parametrize("pattern", [b"*a" * 60 + b"b", b"**/a/" * 60 + b"b", b"[a-z]*" * 60 + b"0"])
def test_a_hostile_pattern_takes_no_exponential_time(pattern: bytes) -> None:
    rules = parse(pattern, 0)
    assert not ignored((rules,), b"a" * 250, is_directory=False)
    assert not ignored((rules,), b"/".join([b"a"] * 100), is_directory=False)


def test_a_huge_or_linked_gitignore_is_not_obeyed(tmp_path: Path) -> None:
    root = tmp_path / "w"
    write_tree(root, {b".gitignore": ("f", b"x\n" * 200_000), b"x": ("f", b""), b"d/.gitignore": ("l", b"../rules")})
    write_tree(root, {b"rules": ("f", b"*\n"), b"d/y": ("f", b"")})
    shot = Snapshots(tmp_path / "store").take(root)
    assert {b"x", b"d/y"} <= set(shot.entries)
    assert [n.code for n in shot.notices] == ["gitignore_too_large"]
