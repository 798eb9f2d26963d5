# ruff: noqa: PTH101, PTH103, PTH114, PTH115, PTH118, PTH120, PTH123, PTH211
"""Random file trees, and trees as plain data to compare."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from hypothesis import strategies as st

Leaf = tuple[str, bytes]  # kind: "f", "x" (executable), "l" (symlink); content or target
Files = dict[bytes, Leaf]

_names = st.one_of(
    st.sampled_from(
        [
            b"a",
            b"b",
            b"c.txt",
            b"d e",
            b'q"u',
            b"n\nl",
            b"back\\slash",
            b"\xff\xfe",
            b"\xc3\xa9",
            b"tab\t",
            b"-x",
            b" lead",
        ]
    ),
    st.binary(min_size=1, max_size=4).filter(lambda n: b"/" not in n and b"\0" not in n and n not in (b".", b"..")),
)
_contents = st.one_of(
    st.sampled_from(
        [
            b"",
            b"x",
            b"x\n",
            b"a\r\nb\r\n",
            b"a\nb\nc\n",
            b"a\nb\nc",
            b"\0\1\2" * 50,
            b"\xff\xfetext\n",
            b"@@ -1 +1 @@\n--- a\n",
        ]
    ),
    st.binary(max_size=60),
    st.lists(
        st.sampled_from([b"one\n", b"two\n", b"three\r\n", b"\n", b" \n", b"diff --git a/x b/x\n"]), max_size=30
    ).map(b"".join),
)
_leaves = st.one_of(
    st.tuples(st.sampled_from(["f", "x"]), _contents),
    st.tuples(st.just("l"), st.sampled_from([b"a", b"../b", b"/etc/passwd", b"n\nl", b"\xff", b"missing target"])),
)
_paths = st.lists(_names, min_size=1, max_size=3).map(b"/".join)


def consistent(files: Files) -> Files:
    """Without paths that run through another file, and without what a tree cannot hold."""
    return {p: v for p, v in files.items() if not any(p[:i] in files for i in range(len(p)) if p[i : i + 1] == b"/")}


trees = st.dictionaries(_paths, _leaves, max_size=8).map(consistent)


def write_tree(root: Path, files: Files) -> None:
    for path, (kind, data) in files.items():
        full = os.path.join(os.fsencode(root), path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if kind == "l":
            os.symlink(data, full)
        else:
            with open(full, "wb") as file:
                file.write(data)
            os.chmod(full, 0o755 if kind == "x" else 0o644)


def read_tree(root: Path, *, skip: tuple[bytes, ...] = (b".git",)) -> Files:
    files: Files = {}
    top = os.fsencode(root)
    for folder, dirs, names in os.walk(top):
        dirs[:] = [d for d in dirs if d not in skip or os.path.islink(os.path.join(folder, d))]
        for name in names + [d for d in dirs if os.path.islink(os.path.join(folder, d))]:
            full = os.path.join(folder, name)
            path = os.path.relpath(full, top)
            mode = os.lstat(full).st_mode
            if stat.S_ISLNK(mode):
                files[path] = ("l", os.readlink(full))
            elif stat.S_ISREG(mode):
                with open(full, "rb") as file:
                    files[path] = ("x" if mode & 0o100 else "f", file.read())
    return files


def git(*argv: str, cwd: Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """The real git, with no configuration but the repository's own."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CEILING_DIRECTORIES": str(cwd.parent),
        "LC_ALL": "C",
    }
    return subprocess.run(["git", *argv], cwd=cwd, env=env, input=stdin, capture_output=True, timeout=60, check=False)


def git_apply(root: Path, patch: bytes) -> None:
    """Apply with the real git, in a plain directory."""
    if not patch:
        return
    done = git("apply", "--whitespace=nowarn", "-", cwd=root, stdin=patch)
    assert done.returncode == 0, (done.stderr, patch)
