"""The configuration of a copied repository: an allow-list, without credentials, as the real git reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from workspace_trees import git

from claude_flow_dagger.workspace.gitconfig import MINIMAL, sanitised, without_credentials


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://user:pw@host.example:8443/a/b.git?token=x#y", "https://host.example:8443/a/b.git"),
        ("ssh://git:pw@host.example/a", "ssh://git@host.example/a"),
        ("git@host.example:a/b.git", "git@host.example:a/b.git"),
        ("https://[::1]:80/x", "https://[::1]:80/x"),
        ("file:///srv/x", "file:///srv/x"),
        ("../other", "../other"),
        ("ext::sh -c true", None),
        ("-oProxyCommand=true", None),
        ("ssh://-oProxyCommand=true/x", None),
        ("https://host:port/x", None),
        ("gopher://host/x", None),
        ("https:///x", None),
        ("a\nb", None),
    ],
)
def test_urls(url: str, kept: str | None) -> None:
    assert without_credentials(url) == kept


def test_git_reads_the_same_values(tmp_path: Path) -> None:
    config = (
        b"\xef\xbb\xbf; x\n[CORE] bare = false ; y\n\tFileMode\n"
        b'[remote "a\\"b"]\n\turl = "/p \\"q\\" # no" \\\n r ; c\r\n'
        b"[branch.old]\n\tremote = o\\tx\n\tmerge=refs/heads/\xc3\xa9  \n\trebase = true\n[user]\n\tname = x\n"
    )
    (tmp_path / "before").write_bytes(config)
    (tmp_path / "after").write_bytes(sanitised(config))
    before, after = (git("config", "-z", "-f", name, "-l", cwd=tmp_path) for name in ("before", "after"))
    assert before.returncode == after.returncode == 0
    old = {tuple(item.split(b"\n", 1)) for item in before.stdout.split(b"\0")}
    kept = {tuple(item.split(b"\n", 1)) for item in after.stdout.split(b"\0")}
    gone = {(b"branch.old.rebase", b"true"), (b"user.name", b"x"), (b"core.filemode",)}
    assert kept == old - gone | {(b"core.filemode", b"true")}


@pytest.mark.parametrize("broken", [b"[core", b"x = y", b'[core]\n\tbare = "x', b"[core]\n\tbare = \\q", b""])
def test_what_cannot_be_read_becomes_minimal(broken: bytes) -> None:
    assert sanitised(broken) == MINIMAL


@given(st.binary(max_size=80))
def test_any_bytes_end_in_a_configuration(data: bytes) -> None:
    assert sanitised(sanitised(data)) == sanitised(data)
