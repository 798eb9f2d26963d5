"""The pure parts of the container runner, and hostile archives."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest

from claude_flow_dagger.errors import OutOfSpace, RefusedInput, SandboxError, UnsafeRun
from claude_flow_dagger.job import Limits, Network, Pins
from claude_flow_dagger.plan import Plan
from claude_flow_dagger.runners.docker.client import _engine, find_address
from claude_flow_dagger.runners.docker.image import RuntimeImage, default_image, read_image
from claude_flow_dagger.runners.docker.pack import pack_directory, pack_file
from claude_flow_dagger.runners.docker.probe import judge_probe, missing_limits
from claude_flow_dagger.runners.docker.problems import Answer, NotHere, explain_connection, explain_pull, explain_start
from claude_flow_dagger.runners.docker.prune import owner_of
from claude_flow_dagger.runners.docker.spec import LEASE, Contents, Names, container_config, leased, stop_seconds
from claude_flow_dagger.runners.docker.unpack import mirror
from claude_flow_dagger.runners.docker.watch import Used, seconds_since
from claude_flow_dagger.workspace.report import CopyLimits

IMAGE = RuntimeImage(id="sha256:1", name="x", versions={"claude-flow": "3.43.0"}, environment={"PATH": "/x", "A": "b"})
SANE = {
    "uid": 1001,
    "capabilities": "0000000000000000",
    "privileges": "1",
    "seccomp": "2",
    "networks": ["lo"],
    "root": False,
    "socket": "",
}


def config(**more: object) -> dict:
    given = {"limits": Limits(), "network": Network.MODEL, **more}
    contents = given.pop("contents", Contents(socket=(Path("/tmp/x/gw.sock"), "/run/cfd/gateway.sock")))
    return container_config(IMAGE, Names("run", "agent", "me"), contents, command=("a",), **given)


def test_what_a_container_is_made_of() -> None:
    host = config(limits=Limits(memory=1 << 30, cpus=1.5, pids=77))["HostConfig"]
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"]) == ("none", True, ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        1 << 30,
        1 << 30,
        15 * 10**8,
        77,
    )
    assert host["Privileged"] is False
    assert "Runtime" not in host
    assert {mount["Target"] for mount in host["Mounts"]} == {"/workspace", "/run/cfd", "/run/cfd/gateway.sock"}
    made = config()
    assert made["User"] == "1001:1001"
    # The image's variables are taken out.
    assert made["Env"] == ["PATH=/usr/local/bin:/usr/bin:/bin", "A"]
    assert made["Image"] == "sha256:1"


def test_mounts_are_read_only_and_a_runtime_is_handed_on() -> None:
    mounted = Contents(socket=(Path("/s"), LEASE), mounts=((Path("/real"), Path("/seen")),), runtime="runsc")
    host = config(contents=mounted, network=Network.OPEN)["HostConfig"]
    assert {"Type": "bind", "Source": "/real", "Target": "/seen", "ReadOnly": True} in host["Mounts"]
    assert (host["Runtime"], host["NetworkMode"]) == ("runsc", "default")


def test_without_a_gateway_there_is_a_lease() -> None:
    plan = Plan.model_validate({"cwd": "/", "env": {}, "steps": [{"name": "a", "argv": ["a"]}], "grace_s": 2})
    changed, place = leased(plan, None)
    assert (changed.gateway_socket, changed.lease, place) == (LEASE, True, LEASE)
    assert leased(plan, Path("/s")) == (plan, "/run/cfd/gateway.sock")
    assert stop_seconds(plan) > plan.grace_s


def test_a_sane_probe() -> None:
    assert judge_probe(json.dumps(SANE), "x").network_cut
    assert "seccomp" in judge_probe(json.dumps({**SANE, "seccomp": "0"}), "x").detail


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("uid", 0, "user 0"),
        ("capabilities", "00000000a80425fb", "capabilities"),
        ("privileges", "0", "privileges"),
        ("root", True, "write to its root"),
        ("networks", ["lo", "eth0"], "eth0"),
    ],
)
def test_a_fence_that_is_missing(field: str, value: object, named: str) -> None:
    with pytest.raises(UnsafeRun, match=named):
        judge_probe(json.dumps({**SANE, field: value}), "unix:///x")


def test_a_probe_that_says_nothing_or_reaches_nothing() -> None:
    with pytest.raises(SandboxError, match="nothing of use"):
        judge_probe("Segmentation fault", "unix:///x")
    with pytest.raises(NotHere, match="cannot reach a socket"):
        judge_probe(json.dumps({**SANE, "socket": "ENOENT"}), "unix:///x")


def test_limits_that_a_daemon_cannot_keep() -> None:
    assert missing_limits({"MemoryLimit": True, "PidsLimit": True}) == ""
    assert missing_limits({"MemoryLimit": False, "PidsLimit": False}) == "the daemon cannot limit memory, processes"


@pytest.mark.parametrize(
    ("status", "text", "kind", "named"),
    [
        (404, "manifest unknown", RefusedInput, "no such image"),
        (500, "unauthorized: authentication required", RefusedInput, "docker login r.example.com"),
        (404, "pull access denied for x", RefusedInput, "docker login"),
        (500, "write /x: no space left on device", OutOfSpace, "disk is full"),
        (500, "dial tcp: connection refused", SandboxError, "could not be pulled"),
    ],
)
def test_why_a_pull_failed(status: int, text: str, kind: type[Exception], named: str) -> None:
    error = explain_pull("r.example.com/a:1", Answer(status, text))
    assert type(error) is kind
    assert named in f"{error.message} {error.cure}"


@pytest.mark.parametrize(
    ("status", "text", "kind", "named"),
    [
        (900, "gone", SandboxError, "the daemon went away"),
        (500, "mkdir /x: no space left on device", OutOfSpace, "disk is full"),
        (400, 'unknown or invalid runtime name: "x"', UnsafeRun, "docker info"),
        (400, "invalid mount config: bind source path does not exist: /x", NotHere, "this machine's files"),
        (500, "something else", SandboxError, "something else"),
    ],
)
def test_why_a_start_failed(status: int, text: str, kind: type[Exception], named: str) -> None:
    error = explain_start("container a", Answer(status, text))
    assert type(error) is kind
    assert named in f"{error.message} {error.cure}"


@pytest.mark.parametrize(
    ("status", "text", "transient"),
    [
        (503, "", True),
        (429, "toomanyrequests", True),
        (500, "net/http: TLS handshake timeout", True),
        (0, "unexpected EOF", True),
        (500, "manifest unknown", False),
        (404, "timeout", False),
        (900, "connection reset", False),
    ],
)
def test_only_what_may_pass_is_tried_again(status: int, text: str, transient: bool) -> None:
    assert Answer(status, text).transient is transient


def test_why_there_is_no_connection() -> None:
    assert "usermod" in str(explain_connection("unix:///x", PermissionError(13, "Permission denied")).cure)
    assert "systemctl" in str(explain_connection("unix:///x", ConnectionRefusedError(111, "refused")).cure)


def test_where_a_daemon_is_looked_for(tmp_path: Path) -> None:
    import socket

    assert find_address("tcp://host:1", None, tmp_path) == "tcp://host:1"
    (tmp_path / "podman").mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "podman" / "podman.sock"))
        found = find_address(None, tmp_path, tmp_path)
    # A daemon of the machine's own comes first.
    assert found in (f"unix://{tmp_path}/podman/podman.sock", "unix:///var/run/docker.sock")


def test_daemons_that_will_not_do() -> None:
    new = {"ApiVersion": "1.41", "Components": [{"Name": "Podman Engine"}]}
    assert _engine(None, "x", new, {"Runtimes": {"runc": {}, "crun": {}}}).kind == "podman"  # type: ignore[arg-type]
    with pytest.raises(SandboxError, match="too old"):
        _engine(None, "x", {"ApiVersion": "1.40"}, {})  # type: ignore[arg-type]
    with pytest.raises(SandboxError, match="windows"):
        _engine(None, "x", new, {"OSType": "windows"})  # type: ignore[arg-type]


def test_reading_an_image() -> None:
    labels = {"dev.claude-flow-dagger.layout": "1", "dev.claude-flow-dagger.claude-flow": "3.43.0"}
    inspected = {"Id": "sha256:2", "Config": {"Labels": labels, "Env": ["A=b=c"]}}
    image = read_image("x", inspected, Pins())
    assert (image.id, image.environment, image.layout().claude) == ("sha256:2", {"A": "b=c"}, None)
    for wrong, named in (
        ({}, "has no claude-flow-dagger runtime"),
        ({**labels, **dict.fromkeys(list(labels)[:1], "9")}, "another version"),
    ):
        with pytest.raises(RefusedInput, match=named):
            read_image("x", {"Id": "y", "Config": {"Labels": wrong}}, Pins())
    assert default_image(Pins(claude_flow="2.7.47")) == "claude-flow-dagger:agent-2.7.47"


def test_what_a_container_used_and_since_when() -> None:
    used = Used()
    used.add({})
    used.add({"memory_stats": {"usage": 100, "stats": {"total_inactive_file": 30}}})
    used.add({"memory_stats": {"usage": 60, "stats": {}}})
    assert used.memory == 70
    assert seconds_since("0001-01-01T00:00:00Z") > 10**9
    assert seconds_since("2999-01-01T00:00:00.123456789+02:00") == 0
    assert seconds_since("") == 0


def test_owners_differ(tmp_path: Path) -> None:
    assert owner_of(tmp_path) != owner_of(tmp_path / "x")
    assert owner_of(tmp_path) == owner_of(tmp_path)


def packed(source: Path) -> bytes:
    out = io.BytesIO()
    pack_directory(source, out)
    return out.getvalue()


def test_packing(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir(mode=0o500)
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    with tarfile.open(fileobj=io.BytesIO(packed(tmp_path))) as archive:
        members = {member.name: member for member in archive}
    assert set(members) == {".", "dir", "file", "link"}
    assert {(member.uid, member.gid) for member in members.values()} == {(1001, 1001)}
    # Its owner can write into it, as into a copy.
    assert members["dir"].mode == 0o700
    assert members["link"].linkname == "/etc/passwd"
    out = io.BytesIO()
    pack_file("plan.json", b"{}", out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        assert [(member.name, member.mode) for member in archive] == [(".", 0o700), ("plan.json", 0o600)]


def archive(*members: tuple[str, bytes, dict]) -> io.BytesIO:
    """A tar as the daemon sends it, of (name, contents, fields)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data, fields in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            for field, value in fields.items():
                setattr(member, field, value)
            tar.addfile(member, io.BytesIO(data))
    out.seek(0)
    return out


ROOT = ("workspace/", b"", {"type": tarfile.DIRTYPE, "mode": 0o755})


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").write_text("precious")
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def test_a_round_trip(tmp_path: Path, target: Path) -> None:
    (target / "old").write_text("goes")
    (target / "a").write_text("same")
    before = (target / "a").stat()
    stream = archive(ROOT, ("workspace/a", b"same", {"mode": 0o644}), ("workspace/d/e", b"\0" * 10**6, {"mode": 0o755}))
    mirror(stream, target)
    assert sorted(path.name for path in target.iterdir()) == ["a", "d"]
    assert (target / "a").stat().st_ino == before.st_ino
    assert (target / "d" / "e").read_bytes() == bytes(10**6)
    assert stat.S_IMODE((target / "d" / "e").stat().st_mode) == 0o755


@pytest.mark.parametrize("name", ["workspace/../outside", "/outside", "workspace/a/../../outside", "x/../../outside"])
def test_names_that_lead_out(target: Path, name: str) -> None:
    with pytest.raises(SandboxError, match="archive names"):
        mirror(archive(ROOT, (name, b"evil", {})), target)
    assert (target.parent / "outside").read_text() == "precious"


def test_podmans_archives_have_no_root(target: Path) -> None:
    """Podman 4.3 calls a volume's root "" and a file in it "/file" (seen)."""
    hard = {"type": tarfile.LNKTYPE, "linkname": "/d/e"}
    stream = archive(("", b"", ROOT[2]), ("/a", b"1", {}), ("/d/e", b"2", {}), ("/hard", b"", hard))
    mirror(stream, target)
    assert sorted(path.name for path in target.iterdir()) == ["a", "d", "hard"]
    assert (target / "hard").read_text() == "2"
    for name in ("/../outside", "//etc", "etc", "/"):
        with pytest.raises(SandboxError, match="archive names"):
            mirror(archive(("", b"", ROOT[2]), (name, b"evil", {})), target)


def test_an_archive_that_does_not_begin_with_its_directory(target: Path) -> None:
    with pytest.raises(SandboxError, match="begins with"):
        mirror(archive(("workspace", b"file", {})), target)


def test_a_link_is_not_followed(target: Path) -> None:
    (target / "was").symlink_to("../outside")
    up = {"type": tarfile.SYMTYPE, "linkname": ".."}
    stream = archive(
        ROOT, ("workspace/up", b"", up), ("workspace/up/outside", b"evil", {}), ("workspace/was", b"evil", {})
    )
    mirror(stream, target)
    assert (target.parent / "outside").read_text() == "precious"
    assert (target / "up" / "outside").read_text() == "evil"
    assert (target / "was").read_text() == "evil"


@pytest.mark.parametrize("goal", ["workspace/../outside", "workspace/link/outside", "../outside", "workspace"])
def test_hard_links_stay_inside(target: Path, goal: str) -> None:
    up = ("workspace/link", b"", {"type": tarfile.SYMTYPE, "linkname": ".."})
    stream = archive(ROOT, up, ("workspace/hard", b"", {"type": tarfile.LNKTYPE, "linkname": goal}))
    with pytest.raises(SandboxError):
        mirror(stream, target)
    assert not (target / "hard").exists()


def test_devices_pipes_and_set_user_id_have_no_place(target: Path) -> None:
    device = {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}
    stream = archive(
        ROOT,
        ("workspace/null", b"", device),
        ("workspace/pipe", b"", {"type": tarfile.FIFOTYPE}),
        ("workspace/suid", b"x", {"mode": 0o4755}),
    )
    mirror(stream, target)
    assert [path.name for path in target.iterdir()] == ["suid"]
    assert stat.S_IMODE((target / "suid").stat().st_mode) == 0o755


def test_caps(target: Path) -> None:
    many = [(f"workspace/f{number}", b"xx", {}) for number in range(5)]
    for limits in (CopyLimits(entries=4), CopyLimits(bytes=9)):
        with pytest.raises(SandboxError, match="grown over its limit"):
            mirror(archive(ROOT, *many), target, limits=limits)
    with pytest.raises(SandboxError, match="nested deeper"):
        mirror(archive(ROOT, ("workspace" + "/d" * 9, b"", {})), target, limits=CopyLimits(depth=8))
    hard = [(f"workspace/h{number}", b"", {"type": tarfile.LNKTYPE, "linkname": "workspace/f0"}) for number in range(9)]
    with pytest.raises(SandboxError, match="hard links"):
        mirror(archive(ROOT, *many, *hard), target, limits=CopyLimits(bytes=20))


@pytest.mark.parametrize("cut", [512, 700, 1024, 1500, 2000, 2048, 2560])
def test_an_archive_that_breaks_off(target: Path, cut: int) -> None:
    (target / "kept").write_text("as it was")
    data = archive(ROOT, ("workspace/a", b"x" * 1000, {}), ("workspace/b", b"y" * 5000, {})).getvalue()
    with pytest.raises(SandboxError, match=r"whole|brought back"):
        mirror(io.BytesIO(data[:cut]), target)
    assert (target / "kept").read_text() == "as it was"


def test_an_archive_with_a_broken_header(target: Path) -> None:
    (target / "kept").write_text("as it was")
    data = bytearray(archive(ROOT, ("workspace/a", b"x", {}), ("workspace/b", b"y", {})).getvalue())
    data[1536:2048] = b"?" * 512
    with pytest.raises(SandboxError, match="breaks off"):
        mirror(io.BytesIO(bytes(data)), target)
    assert (target / "kept").read_text() == "as it was"


def test_what_is_no_archive(target: Path) -> None:
    with pytest.raises(SandboxError, match="whole"):
        mirror(io.BytesIO(b"HTTP/1.1 500 oh no" * 100), target)


def test_a_directory_where_a_file_was_and_the_other_way(target: Path) -> None:
    (target / "a").write_text("file")
    (target / "b").mkdir()
    (target / "b" / "c").write_text("x")
    mirror(archive(ROOT, ("workspace/a/x", b"1", {}), ("workspace/b", b"2", {})), target)
    assert (target / "a" / "x").read_text() == "1"
    assert (target / "b").read_text() == "2"
