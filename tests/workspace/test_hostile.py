"""Hostile and broken trees: nothing runs, nothing leads out, and each refusal names the thing and the cure."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from workspace_trees import git, git_apply, read_tree, write_tree

from claude_flow_dagger.errors import ApplyConflict, InvalidSource, PatchTooLarge
from claude_flow_dagger.workspace.apply import apply, unchanged
from claude_flow_dagger.workspace.copy import copy_tree
from claude_flow_dagger.workspace.remove import remove_tree
from claude_flow_dagger.workspace.report import CopyLimits
from claude_flow_dagger.workspace.snapshot import Snapshots
from claude_flow_dagger.workspace.state import state_in, state_out


def repository(root: Path, marker: Path) -> None:
    """A repository whose configuration would run a command for nearly everything git does."""
    root.mkdir()
    (root / "a.txt").write_bytes(b"one\r\n")
    assert git("init", "-q", cwd=root).returncode == 0
    assert git("add", "-A", cwd=root).returncode == 0
    done = git("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "first", cwd=root)
    assert done.returncode == 0, done.stderr
    run = f"touch {marker}"
    (root / ".git/config").write_text(
        f'[core]\n\trepositoryformatversion = 0\n\tfsmonitor = "{run}"\n\thooksPath = /tmp\n\tpager = {run}\n'
        f'[filter "f"]\n\tclean = {run}\n\tsmudge = {run}\n\trequired = true\n[diff "f"]\n\ttextconv = {run}\n'
        "[credential]\n\thelper = store\n[http]\n\textraHeader = Authorization: SECRET\n"
        '[remote "origin"]\n\turl = https://user:SECRET@host.example/x.git?token=SECRET\n\tfetch = +refs/*:refs/*\n'
        '[remote "evil"]\n\turl = ext::sh -c touch\n[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n'
        f"[include]\n\tpath = /etc/passwd\n[alias]\n\tst = !{run}\n"
    )
    (root / ".gitattributes").write_text("*.txt filter=f diff=f text eol=crlf working-tree-encoding=UTF-16\n")
    hook = root / ".git/hooks/post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\n{run}\n")
    hook.chmod(0o755)
    (root / ".git/credentials").write_text("https://user:SECRET@host.example")
    (root / ".git/objects/info").mkdir(exist_ok=True)
    (root / ".git/objects/info/alternates").write_text("/somewhere/SECRET\n")
    (root / ".git/logs").mkdir(exist_ok=True)
    (root / ".git/logs/HEAD").write_bytes(b"0 1 x <x> 0 +0\tclone: from https://u:SECRET@h.example/x\n")


def test_a_hostile_repository_runs_nothing_and_its_copy_is_clean(tmp_path: Path) -> None:
    marker, source, work = tmp_path / "ran", tmp_path / "source", tmp_path / "work"
    repository(source, marker)
    report = copy_tree(source, work)
    snapshots = Snapshots(tmp_path / "store")
    first = snapshots.take(work)
    (work / "a.txt").write_bytes(b"two\r\n")
    patch = snapshots.diff(first, snapshots.take(work, baseline=first))
    assert b"-one\r\n+two\r\n" in patch.data
    assert not marker.exists()
    assert not any(b"SECRET" in path.read_bytes() for path in (work / ".git").rglob("*") if path.is_file())
    assert not (work / ".git/hooks").exists()
    told = "\n".join(notice.message for notice in report.notices)
    assert ".git/objects/info/alternates" in told
    assert ".git/credentials" in told
    log = git("log", "--format=%s", cwd=work)
    assert log.stdout == b"first\n", log.stderr
    kept = git("config", "--local", "-l", cwd=work).stdout.decode()
    assert "remote.origin.url=https://host.example/x.git\n" in kept
    assert "branch.main.merge=refs/heads/main" in kept
    assert "evil" not in kept
    assert "fsmonitor" not in kept
    assert not marker.exists()


def test_a_git_pointer_and_special_files_are_left_out(tmp_path: Path) -> None:
    source = tmp_path / "s"
    (source / "sub").mkdir(parents=True)
    (source / "sub/.git").write_text("gitdir: /elsewhere\n")
    os.mkfifo(source / "pipe")
    (source / "out").symlink_to("../../etc/passwd")
    (source / "in").symlink_to("sub")
    os.link(source / "sub/.git", source / "hard")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "sock"))
        report = copy_tree(source, tmp_path / "t")
    assert {n.code for n in report.notices} == {"git_left_out", "special_file", "symlink_leads_out"}
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["hard", "in", "out", "sub"]
    assert str((tmp_path / "t/out").readlink()) == "../../etc/passwd"
    assert (tmp_path / "t/hard").stat().st_nlink == 1


def test_modes_and_times_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "s"
    write_tree(source, {b"x": ("x", b"1"), b"d\n/\xff": ("f", b"2")})
    os.utime(source / "x", ns=(1, 1_000_000_007))
    (source / "x").chmod(0o4751)
    copy_tree(source, tmp_path / "t", on_progress=lambda entries, size: None)
    status = (tmp_path / "t/x").stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o751, 1_000_000_007)
    assert read_tree(tmp_path / "t") == read_tree(source)


@pytest.mark.parametrize(
    ("limits", "word"),
    [(CopyLimits(bytes=3), "bytes"), (CopyLimits(entries=1), "files"), (CopyLimits(depth=0), "deeper")],
)
def test_limits_are_named_and_the_partial_copy_goes(tmp_path: Path, limits: CopyLimits, word: str) -> None:
    write_tree(tmp_path / "s", {b"a": ("f", b"1234"), b"b/c": ("f", b"")})
    with pytest.raises(InvalidSource) as caught:
        copy_tree(tmp_path / "s", tmp_path / "t", limits=limits)
    assert word in caught.value.message
    assert caught.value.cure is not None
    assert not (tmp_path / "t").exists()
    with pytest.raises(InvalidSource):
        Snapshots(tmp_path / "store", limits=limits).take(tmp_path / "s")


def test_a_wrong_source_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "s").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    for source, target, text in [
        ("missing", "t", "does not exist"),
        ("file", "t", "not a directory"),
        ("s", "s/t", "within each other"),
        ("s", "full", "not empty"),
    ]:
        with pytest.raises(InvalidSource, match=text) as caught:
            copy_tree(tmp_path / source, tmp_path / target)
        assert caught.value.cure


UNREADABLE = """
import os, sys
from pathlib import Path
from claude_flow_dagger.errors import InvalidSource, PatchTooLarge
from claude_flow_dagger.workspace.copy import copy_tree
os.setgid(65534); os.setuid(65534)
try:
    copy_tree(Path(sys.argv[1]), Path(sys.argv[2]))
except InvalidSource as error:
    print(error.message, error.cure)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    write_tree(tmp_path / "s", {b"secret": ("f", b"1")})
    (tmp_path / "s/secret").chmod(0)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == "root" and folder != Path("/") and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "out").mkdir(mode=0o777)
    (tmp_path / "out").chmod(0o777)
    argv = [sys.executable, "-c", UNREADABLE, str(tmp_path / "s"), str(tmp_path / "out/t")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert f"{tmp_path}/s/secret cannot be copied: Permission denied" in done.stdout
    assert "chmod" in done.stdout


FULL = """
import sys
import threading
from pathlib import Path
from claude_flow_dagger.errors import OutOfSpace, PatchTooLarge
from claude_flow_dagger.workspace.apply import apply
from claude_flow_dagger.workspace.copy import copy_tree
from claude_flow_dagger.workspace.snapshot import Snapshots
small, top = Path(sys.argv[1]), Path(sys.argv[2])
try:
    copy_tree(top / "large", small / "t")
except OutOfSpace as error:
    print("copy:", error.message, (small / "t").exists())
try:
    Snapshots(small / "store").take(top / "large")
except OutOfSpace as error:
    print("take:", error.message)
(small / "store/contents").unlink()
copy_tree(top / "little", small / "s")
shots = Snapshots(top / "shots")
before, after = shots.take(top / "little"), shots.take(top / "large")
held = sorted(p.name for p in (small / "s").iterdir()), (small / "s/a").read_text()
try:
    apply(small / "s", before, after, shots)
except OutOfSpace as error:
    print("apply:", error.message)
assert held == (sorted(p.name for p in (small / "s").iterdir()), (small / "s/a").read_text())
"""


def test_a_full_disk_leaves_everything_as_it_was(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    probe = ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)]
    if os.geteuid() != 0 or subprocess.run(probe, capture_output=True, timeout=30, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root and a mount namespace")
    write_tree(tmp_path / "little", {b"a": ("f", b"old")})
    write_tree(tmp_path / "large", {b"a": ("f", b"new"), b"n/b": ("f", b"x" * 3_000_000)})
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -c "$3" "$1" "$4"'
    argv = ["unshare", "-m", "sh", "-c", script, "sh", str(small), sys.executable, FULL, str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == ["copy", "take", "apply"]
    assert lines[0].endswith("False")
    assert str(small) in lines[0]


def taken(tmp_path: Path, before: dict, after: dict, **options: object):
    source, work = tmp_path / "source", tmp_path / "work"
    source.mkdir(parents=True)
    write_tree(source, before)
    copy_tree(source, work)
    snapshots = Snapshots(tmp_path / "store", **options)
    first = snapshots.take(work)
    remove_tree(work)
    work.mkdir()
    write_tree(work, after)
    return source, work, snapshots, first, snapshots.take(work, baseline=first)


def test_apply_refuses_a_changed_source_and_writes_nothing(tmp_path: Path) -> None:
    before = {b"a": ("f", b"1"), b"b": ("f", b"1"), b"c": ("f", b"1"), b"d": ("l", b"x"), b"same": ("f", b"s")}
    after = {b"a": ("f", b"2"), b"c": ("x", b"1"), b"d": ("l", b"y"), b"new": ("f", b"n"), b"same": ("f", b"s")}
    source, _, snapshots, first, second = taken(tmp_path, before, after)
    (source / "a").write_text("mine")
    (source / "b").unlink()
    (source / "c").unlink()
    os.mkfifo(source / "c")
    (source / "new").write_text("mine too")
    held = read_tree(source)
    with pytest.raises(ApplyConflict, match=r"a, b, c, new$"):
        apply(source, first, second, snapshots)
    assert read_tree(source) == held
    assert unchanged(source, first, snapshots) == ["a", "b", "c", "new"]


def test_apply_never_writes_through_a_symlink(tmp_path: Path) -> None:
    source, _, snapshots, first, second = taken(tmp_path, {b"a": ("f", b"1")}, {b"a": ("f", b"2"), b"d/x": ("f", b"2")})
    (tmp_path / "outside").mkdir()
    (source / "d").symlink_to(tmp_path / "outside")
    with pytest.raises(ApplyConflict, match="d changed"):
        apply(source, first, second, snapshots)
    assert read_tree(source) == {b"a": ("f", b"1"), b"d": ("l", os.fsencode(tmp_path / "outside"))}
    assert list((tmp_path / "outside").iterdir()) == []


def test_apply_into_a_directory_with_ignored_files_is_undone(tmp_path: Path) -> None:
    before = {b".gitignore": ("f", b"*.o\n"), b"d/x": ("f", b"1"), b"d/e/z": ("f", b"1"), b"z": ("f", b"1")}
    after = {b".gitignore": ("f", b"*.o\n"), b"d": ("f", b"now a file"), b"z": ("f", b"2")}
    source, _, snapshots, first, second = taken(tmp_path, before, after)
    (source / "d/keep.o").write_bytes(b"built")
    held = read_tree(source)
    with pytest.raises(ApplyConflict, match=r"keep\.o"):
        apply(source, first, second, snapshots)
    assert read_tree(source) == held
    (source / "d/keep.o").unlink()
    apply(source, first, second, snapshots)
    assert read_tree(source) == after


def test_permissions_survive_an_apply(tmp_path: Path) -> None:
    source, _, snapshots, first, second = taken(
        tmp_path, {b"a": ("f", b"1"), b"b": ("x", b"1")}, {b"a": ("x", b"1"), b"b": ("f", b"1")}
    )
    (source / "a").chmod(0o640)
    (source / "b").chmod(0o750)
    apply(source, first, second, snapshots)
    assert [(source / n).stat().st_mode & 0o777 for n in "ab"] == [0o750, 0o640]


def test_hiding_a_change_behind_gitignore_does_not_work(tmp_path: Path) -> None:
    before = {b".gitignore": ("f", b"built/\n"), b"a/b": ("f", b"1"), b"built/x": ("f", b"1")}
    after = {b".gitignore": ("f", b"*\n"), b"a/b": ("f", b"2"), b"a/n": ("f", b""), b"built/x": ("f", b"2")}
    _, _, snapshots, first, second = taken(tmp_path, before, after)
    assert first.ignored == {b"built"}
    assert [c.path for c in snapshots.diff(first, second).changes] == [".gitignore", "a/b"]


def test_excluded_paths_git_and_names_that_git_refuses_stay_out(tmp_path: Path) -> None:
    tree = dict.fromkeys((b".swarm/x", b"sub/.git/config", b"sub/y", b".GIT/z", b"git~1", b".gitter"), ("f", b"1"))
    write_tree(tmp_path / "w", tree)
    shot = Snapshots(tmp_path / "store", excluded=[".swarm"]).take(tmp_path / "w")
    assert set(shot.entries) == {b"sub/y", b".gitter"}
    assert [n.code for n in shot.notices] == ["name_refused_by_git"] * 2


def test_the_tree_id_is_gits(tmp_path: Path) -> None:
    write_tree(tmp_path / "w", {b"a.b": ("f", b"1"), b"a/c": ("x", b"2"), b"l": ("l", b"a"), b"a0": ("f", b"")})
    assert git("init", "-q", cwd=tmp_path / "w").returncode == 0
    git("add", "-A", cwd=tmp_path / "w")
    expected = git("write-tree", cwd=tmp_path / "w").stdout.decode().strip()
    assert Snapshots(tmp_path / "store").take(tmp_path / "w").oid == expected


def test_a_patch_that_is_too_large_names_the_file(tmp_path: Path) -> None:
    after = {b"big": ("f", os.urandom(9000))}
    _, _, snapshots, first, second = taken(tmp_path, {}, after, max_patch=1000)
    with pytest.raises(PatchTooLarge, match="big") as caught:
        snapshots.diff(first, second)
    assert caught.value.cure
    _, _, snapshots, first, second = taken(tmp_path / "2", {}, {b"big": ("f", os.urandom(2000))}, max_patch=1000)
    with pytest.raises(PatchTooLarge):
        snapshots.diff(first, second)


def test_a_large_file_is_deleted_without_its_content_in_the_patch(tmp_path: Path) -> None:
    before = {b"big": ("f", b"line\n" * 2_000_000), b"a": ("f", b"")}
    source, _, snapshots, first, second = taken(tmp_path, before, {b"a": ("f", b"")})
    patch = snapshots.diff(first, second)
    assert len(patch.data) < 1000
    git_apply(source, patch.data)
    assert read_tree(source) == {b"a": ("f", b"")}


def test_removing_what_a_hostile_agent_left(tmp_path: Path) -> None:
    root = tmp_path / "r"
    root.mkdir()
    fd = os.open(root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", 0o700, dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    (root / "link").symlink_to("/")
    (root / "shut").mkdir()
    (root / "shut").chmod(0)
    with pytest.raises(InvalidSource, match=r"deeper"):
        Snapshots(tmp_path / "store").take(root)
    remove_tree(root)
    remove_tree(root)
    assert not root.exists()
    (tmp_path / "link").symlink_to("/")
    remove_tree(tmp_path / "link")
    assert not (tmp_path / "link").is_symlink()


def test_state_goes_out_and_in(tmp_path: Path) -> None:
    write_tree(tmp_path / "w", {b".swarm/memory.db": ("f", b"1"), b".hive-mind": ("l", b"/etc"), b"a": ("f", b"")})
    dirs = (".swarm", ".claude-flow", ".hive-mind")
    assert state_in(tmp_path / "none", tmp_path / "w", dirs).files == 0
    assert state_out(tmp_path / "w", dirs, tmp_path / "state").files == 1
    assert read_tree(tmp_path / "state") == {b".swarm/memory.db": ("f", b"1")}
    (tmp_path / "state/.swarm/memory.db").write_bytes(b"2")
    state_in(tmp_path / "state", tmp_path / "w", dirs)
    assert (tmp_path / "w/.swarm/memory.db").read_bytes() == b"2"
    with pytest.raises(InvalidSource):
        state_in(tmp_path / "state", tmp_path / "w", dirs, limits=CopyLimits(bytes=0))
    assert read_tree(tmp_path / "w")[b".swarm/memory.db"] == ("f", b"2")
    with pytest.raises(ValueError, match="plain name"):
        state_out(tmp_path / "w", ["../x"], tmp_path / "state")


def test_a_directory_swapped_for_a_symlink_leads_nowhere(tmp_path: Path) -> None:
    outside, source = tmp_path / "outside", tmp_path / "s"
    write_tree(outside, {b"f%d" % n: ("f", b"SECRET") for n in range(20)})
    write_tree(source, {b"d/f%d" % n: ("f", b"mine") for n in range(20)})
    (source / "evil").symlink_to(outside)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            (source / "d").rename(source / "real")
            (source / "evil").rename(source / "d")
            (source / "d").rename(source / "evil")
            (source / "real").rename(source / "d")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        snapshots = Snapshots(tmp_path / "store")
        for number in range(30):
            copy_tree(source, tmp_path / f"t{number}")
            assert b"SECRET" not in {data for _, data in read_tree(tmp_path / f"t{number}").values()}
    finally:
        over.set()
        swapper.join()
    assert all(snapshots.read(e.oid) != b"SECRET" for e in snapshots.take(source).entries.values())
