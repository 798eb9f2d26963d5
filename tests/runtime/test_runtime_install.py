"""Real installs with the real npm. Downloads come from the cache directory of the `runtime` fixture where they can."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claude_flow_dagger.errors import RuntimeInstallError
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runtime.install import Progress, Runtime, find, in_use, install, prune, show, verify
from claude_flow_dagger.runtime.tree import MANIFEST

pytestmark = pytest.mark.real

INSTALL = """
import os, sys
from pathlib import Path
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runtime.install import install
def say(progress): print(progress.step, progress.done, flush=True)
print(install(Path(sys.argv[1]), Pins(), with_claude=False, environ=dict(os.environ), on_progress=say).claude_flow_root)
"""


@pytest.fixture
def cache(tmp_path: Path, runtime: Runtime, cache_dir: Path) -> Path:
    """An empty cache directory but for npm's downloads."""
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "npm").symlink_to(cache_dir / "npm")
    return cache


def start(cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", INSTALL, str(cache)], stdout=subprocess.PIPE, text=True)


def processes_in(directory: Path) -> list[int]:
    """Processes whose working directory is inside `directory`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(directory) in os.readlink(entry / "cwd"):  # noqa: PTH115
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def claude_flow(runtime: Runtime, home: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    workspace = home / "workspace"
    workspace.mkdir(exist_ok=True)
    env = {"PATH": str(runtime.node.parent), "HOME": str(home), "CI": "true", "RUFLO_DAEMON_AUTOSTART": "0"}
    env |= {"CLAUDE_FLOW_DISABLE_BRIDGE": "1", "CLAUDE_FLOW_AUTO_UPDATE": "false", "RUFLO_FUNNEL": "0"}
    command = [runtime.node, "--max-old-space-size=1000", runtime.claude_flow, *argv]
    return subprocess.run(command, cwd=workspace, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_the_runtime_verifies_is_found_again_and_its_tools_are_the_pinned_ones(
    runtime: Runtime, cache_dir: Path, tmp_path: Path
) -> None:
    verify(runtime)
    assert find(cache_dir, Pins(), with_claude=True) == runtime
    assert runtime.claude is not None
    node = subprocess.run([runtime.node, "--version"], capture_output=True, text=True, timeout=30, check=True)
    assert node.stdout.strip() == f"v{runtime.versions['node']}"
    assert "v3.43.0" in claude_flow(runtime, tmp_path, "--version").stdout
    titles = {tree.title: tree for tree in show(cache_dir)}
    assert titles["claude-flow 3.43.0"].whole
    assert titles["claude-code 2.1.330"].size > 300_000_000


def test_pruned_claude_flow_initialises_and_remembers(runtime: Runtime, tmp_path: Path) -> None:
    for argv in (["init"], ["memory", "init"], ["memory", "store", "-k", "colour", "--value", "teal"]):
        done = claude_flow(runtime, tmp_path, *argv)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "teal" in claude_flow(runtime, tmp_path, "memory", "retrieve", "-k", "colour").stdout


def test_two_installs_at_once_make_one_tree_and_a_killed_one_is_recovered_from(cache: Path, runtime: Runtime) -> None:
    trees = cache / "runtime"
    killed = start(cache)
    wait_for(lambda: sum(1 for _ in trees.glob(".tmp-*/tree/node_modules/*")) > 20, 120)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=30)
    wait_for(lambda: not processes_in(trees), 10)
    assert list(trees.glob(".tmp-*")), "it was killed in the middle"
    assert find(cache, Pins(), with_claude=False) is None

    both = [start(cache), start(cache)]
    said = [process.communicate(timeout=250)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum("downloading" in text for text in said) == 1, said
    assert sum("waiting for another process" in text for text in said) == 1, said
    assert len({text.splitlines()[-1] for text in said}) == 1
    assert [path.name for path in trees.iterdir()] == [runtime.claude_flow_root.name], "and nothing temporary"
    made = find(cache, Pins(), with_claude=False)
    assert made is not None
    verify(made)
    same = [(root / MANIFEST).read_bytes() for root in (made.claude_flow_root, runtime.claude_flow_root)]
    assert same[0] == same[1], "an install makes the same bytes every time"


def test_a_damaged_tree_is_named_not_found_and_built_again(cache: Path, runtime: Runtime) -> None:
    place = cache / "runtime" / runtime.claude_flow_root.name
    shutil.copytree(runtime.claude_flow_root, place, symlinks=True)
    made = find(cache, Pins(), with_claude=False)
    assert made is not None
    body = bytearray(made.claude_flow.read_bytes())
    body[0] ^= 1
    made.claude_flow.write_bytes(body)
    with pytest.raises(RuntimeInstallError, match=r"cli\.js"):
        verify(made)
    made.claude_flow.write_bytes(b"")
    assert find(cache, Pins(), with_claude=False) is None, "a wrong size is seen at once"
    steps: list[Progress] = []
    again = install(cache, Pins(), with_claude=False, environ=dict(os.environ), on_progress=steps.append)
    verify(again)
    assert steps[-1].step == "installed"
    assert steps[-1].done == steps[-1].total
    with in_use(again):
        assert place not in prune(cache, None)
    (cache / "npm").unlink()  # the real one stays
    assert place in prune(cache, None)
    with pytest.raises(RuntimeInstallError, match="removed"), in_use(again):
        pytest.fail("used a tree that is gone")


def test_no_registry_is_told_with_its_cure_and_leaves_nothing(tmp_path: Path) -> None:
    environ = {**os.environ, "npm_config_registry": "http://127.0.0.1:9/", "HOME": str(tmp_path)}
    with pytest.raises(RuntimeInstallError, match="ECONNREFUSED") as caught:
        install(tmp_path / "cache", Pins(), with_claude=True, environ=environ, on_progress=lambda _: None)
    assert "NPM_CONFIG_REGISTRY" in (caught.value.cure or "")
    assert list((tmp_path / "cache" / "runtime").iterdir()) == []
