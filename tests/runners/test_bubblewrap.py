"""The sandbox's command line, what it is made of, and which mounts are refused."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from claude_flow_dagger.errors import RefusedInput
from claude_flow_dagger.job import Network
from claude_flow_dagger.runners import host as host_module
from claude_flow_dagger.runners.bubblewrap import OPTIONAL, Contents, Host, RuntimeMounts, bwrap_argv
from claude_flow_dagger.runners.host import Missing, find_host, probe, write_etc
from claude_flow_dagger.runners.local import LocalRunner
from claude_flow_dagger.runners.mounts import check_mounts

RUNTIME = RuntimeMounts(
    node_root=Path("/r/node"),
    node="bin/node",
    claude_flow_root=Path("/r/cf"),
    claude_flow="cli.js",
    claude_root=Path("/r/cc"),
    claude="claude",
    entrypoint=Path("/r/entrypoint.mjs"),
)
HOST = Host(
    bwrap=Path("/usr/bin/bwrap"),
    options=OPTIONAL,
    links=(("/bin", "usr/bin"), ("/lib", None)),
    alternatives=Path("/etc/alternatives"),
    ca_bundle=Path("/pki/ca.pem"),
)
CONTENTS = Contents(etc=Path("/s/etc"), workspace=Path("/s/ws"), control=Path("/s/c"), gateway=Path("/s/g.sock"))


def argv(host: Host = HOST, runtime: RuntimeMounts = RUNTIME, contents: Contents = CONTENTS, network=Network.MODEL):
    return bwrap_argv(host, runtime, contents, network=network, memory=1 << 30, command=("/x", "y"))


def pairs(words: list[str], option: str) -> list[tuple[str, str]]:
    return [(words[at + 1], words[at + 2]) for at, word in enumerate(words) if word == option]


def test_only_the_workspace_the_control_directory_and_the_socket_are_writable():
    assert pairs(argv(), "--bind") == [
        ("/s/ws", "/workspace"),
        ("/s/c", "/run/cfd"),
        ("/s/g.sock", "/run/cfd/gateway.sock"),
    ]


def test_what_is_seen_read_only_is_a_short_list():
    assert pairs(argv(), "--ro-bind") == [
        ("/usr", "/usr"),
        ("/lib", "/lib"),
        ("/s/etc", "/etc"),
        ("/etc/alternatives", "/etc/alternatives"),
        ("/pki/ca.pem", "/etc/ssl/certs/ca-certificates.crt"),
        ("/r/node", "/opt/claude-flow-dagger/node"),
        ("/r/cf", "/opt/claude-flow-dagger/claude-flow"),
        ("/r/cc", "/opt/claude-flow-dagger/claude"),
        ("/r/entrypoint.mjs", "/opt/claude-flow-dagger/entrypoint.mjs"),
    ]
    assert pairs(argv(), "--symlink") == [("usr/bin", "/bin")]


def test_the_network_is_kept_only_when_open():
    assert "--unshare-net" in argv(network=Network.MODEL)
    assert "--unshare-net" in argv(network=Network.NONE)
    assert "--unshare-net" not in argv(network=Network.OPEN)
    for network in Network:
        assert {"--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--new-session"} <= set(
            argv(network=network)
        )


def test_options_that_this_bubblewrap_lacks_are_left_out():
    old = argv(host=Host(bwrap=Path("/b"), options=frozenset()))
    assert not OPTIONAL & set(old)
    assert set(argv()) >= OPTIONAL
    assert pairs(argv(), "--size")[0] == (str(1 << 27), "--tmpfs")


def test_protected_paths_come_after_the_workspace_and_the_command_last():
    words = argv(
        contents=Contents(
            etc=Path("/e"),
            workspace=Path("/w"),
            control=Path("/c"),
            protected=(".git",),
            mounts=((Path("/real"), Path("/seen")),),
        )
    )
    assert pairs(words, "--ro-bind")[-1] == ("/w/.git", "/workspace/.git")
    assert ("/real", "/seen") in pairs(words, "--ro-bind")
    assert words.index("/workspace/.git") > words.index("/workspace")
    assert words[-3:] == ["--", "/x", "y"]


def test_a_runtime_without_claude_code_has_none():
    bare = RuntimeMounts(
        node_root=Path("/n"),
        node="node",
        claude_flow_root=Path("/f"),
        claude_flow="c",
        claude_root=None,
        claude=None,
        entrypoint=Path("/e"),
    )
    assert "/opt/claude-flow-dagger/claude" not in argv(runtime=bare)
    assert bare.layout().claude is None
    assert RUNTIME.layout().claude == "/opt/claude-flow-dagger/claude/claude"


def test_a_synthesized_etc_has_name_servers_only_for_open(tmp_path):
    write_etc(tmp_path / "closed", Network.MODEL)
    write_etc(tmp_path / "open", Network.OPEN)
    assert not (tmp_path / "closed" / "resolv.conf").exists()
    assert (tmp_path / "open" / "resolv.conf").read_text() == Path("/etc/resolv.conf").read_text()
    assert {entry.name for entry in (tmp_path / "closed").iterdir()} <= {
        *("alternatives", "ssl", "passwd", "group", "hosts", "hostname", "nsswitch.conf", "ld.so.cache", "localtime")
    }


def test_without_bubblewrap_the_cure_is_its_package(monkeypatch):
    monkeypatch.setattr(host_module.shutil, "which", lambda *_a, **_k: None)
    found = find_host(None)
    assert isinstance(found, Missing)
    assert "apt-get install bubblewrap" in found.cure


def fake_bwrap(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("script", ["exit 1", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1"])
def test_a_sandbox_that_does_not_start_is_missing_with_its_reason(tmp_path, script):
    (tmp_path / "scratch").mkdir()
    found = probe(Host(bwrap=fake_bwrap(tmp_path / "bwrap", script), options=OPTIONAL), RUNTIME, tmp_path / "scratch")
    assert isinstance(found, Missing)
    assert ("No permissions" if "No" in script else "exit status 1") in found.reason
    assert "user.max_user_namespaces" in found.cure


def test_nested_namespaces_are_forbidden_only_where_that_works(tmp_path):
    (tmp_path / "scratch").mkdir()
    picky = fake_bwrap(tmp_path / "bwrap", 'for a in "$@"; do [ "$a" = --disable-userns ] && exit 1; done; exit 0')
    found = probe(Host(bwrap=picky, options=OPTIONAL), RUNTIME, tmp_path / "scratch")
    assert isinstance(found, Host)
    assert found.options == OPTIONAL - {"--disable-userns"}


def test_a_bubblewrap_that_cannot_run_is_missing(tmp_path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    broken = tmp_path / "bwrap"
    broken.write_bytes(b"\x7fELF")
    broken.chmod(0o755)
    assert isinstance(probe(Host(bwrap=broken), RUNTIME, tmp_path / "scratch"), Missing)
    monkeypatch.setattr(host_module.shutil, "which", lambda *_a, **_k: str(broken))
    found = find_host(None)
    assert isinstance(found, Missing)
    assert str(broken) in found.reason


async def _isolation(runner: LocalRunner):
    return await runner.isolation()


def test_the_runner_remembers_why_there_is_none(light_runtime, short_tmp, monkeypatch):
    import asyncio

    monkeypatch.setattr(host_module.shutil, "which", lambda *_a, **_k: None)
    runner = LocalRunner(light_runtime, allow_unsandboxed=False, scratch=short_tmp)
    assert asyncio.run(_isolation(runner)).sandbox == "none"
    monkeypatch.undo()
    assert asyncio.run(_isolation(runner)).sandbox == "none"
    assert runner.missing is not None


HOME = Path("/home/somebody")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/home",
        "/root",
        "/run",
        "/run/docker.sock",
        "/var/run",
        "/var",
        "/proc",
        "/proc/1",
        "/sys",
        "/dev",
        "/dev/shm",
        "/etc",
        "/etc/ssl",
        "/usr",
        "/usr/lib",
        "/tmp",
    ],
)
def test_mounts_that_show_too_much_are_refused_by_name(path):
    with pytest.raises(RefusedInput, match=f"^mount {path}: "):
        check_mounts([Path(path)], HOME)


def test_the_home_and_what_is_around_it_is_refused_but_a_project_in_it_is_not(tmp_path):
    home = tmp_path / "u" / "home"
    (home / "project").mkdir(parents=True)
    (home / ".ssh").mkdir()
    for path in (home, home.parent, home / ".ssh", tmp_path):
        with pytest.raises(RefusedInput, match="would show"):
            check_mounts([path], home)
    assert check_mounts([home / "project"], home) == ((home / "project", home / "project"),)


def test_links_are_judged_by_where_they_lead(tmp_path):
    (tmp_path / "innocent").symlink_to("/etc")
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    with pytest.raises(RefusedInput, match="/etc"):
        check_mounts([tmp_path / "innocent"], HOME)
    assert check_mounts([tmp_path / "alias"], HOME) == ((tmp_path / "real", tmp_path / "alias"),)


def test_sockets_relative_paths_and_missing_ones_are_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        assert stat.S_ISSOCK((tmp_path / "s").stat().st_mode)
        with pytest.raises(RefusedInput, match="neither a file nor a directory"):
            check_mounts([tmp_path / "s"], HOME)
    with pytest.raises(RefusedInput, match="No such file"):
        check_mounts([tmp_path / "absent"], HOME)
    for path in ("relative", "/a/../b"):
        with pytest.raises(RefusedInput, match="no plain absolute path"):
            check_mounts([Path(path)], HOME)
