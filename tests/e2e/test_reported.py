"""Bugs that were found after the first release candidate, each seen to fail before it was mended."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from claude_flow_dagger.config import read_settings
from claude_flow_dagger.errors import InvalidSource
from claude_flow_dagger.job import Pins
from claude_flow_dagger.runtime.install import Runtime, find, in_use
from claude_flow_dagger.runtime.npm import _node_argv
from claude_flow_dagger.runtime.platforms import find_node
from claude_flow_dagger.workspace.copy import copy_tree
from claude_flow_dagger.workspace.report import CopyLimits
from claude_flow_dagger.workspace.snapshot import Snapshots
from e2e.conftest import GREETER, Cli


class TestRelativeDirectories:
    """A relative cache made bubblewrap fail to start, and the run went on without a sandbox."""

    def test_settings_are_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        settings = read_settings({"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": "c", "TMPDIR": "t"})
        # The XDG specification: a relative path there is invalid and counts as unset.
        assert settings.cache == tmp_path / "home" / ".cache" / "claude-flow-dagger"
        assert settings.temp == tmp_path / "t"

    @pytest.mark.real
    @pytest.mark.sandbox
    def test_a_run_keeps_its_sandbox(self, cli: Cli, greeter: Path, tmp_path: Path, runtime: Runtime) -> None:
        home = tmp_path / "home"
        (home / ".cache").mkdir(parents=True)
        cache = runtime.claude_flow_root.parents[1]
        shutil.copytree(cache / "runtime", home / ".cache" / cache.name / "runtime", symlinks=True)
        words = ("x", "--strategy", "direct", "--source", greeter, "--model-script", GREETER / "french.yaml")
        ran = cli("run", *words, "-o", "json", env={"HOME": str(home), "XDG_CACHE_HOME": "c"})
        assert ran.json["isolation"]["sandbox"] == "bubblewrap", ran.out[-1000:]
        assert ran.json["verdict"] == "succeeded"
        assert not (tmp_path / "c").exists()


@pytest.mark.real
def test_a_runtime_whose_lock_files_are_gone_is_used_all_the_same(tmp_path: Path, runtime: Runtime) -> None:
    cache = runtime.claude_flow_root.parents[1]
    shutil.copytree(cache / "runtime", tmp_path / "runtime", symlinks=True)
    found = find(tmp_path, Pins(), with_claude=True)
    assert found is not None
    with in_use(found):
        assert (tmp_path / "locks").is_dir()


@pytest.mark.real
@pytest.mark.usefixtures("runtime")
def test_tables_are_whole_when_nobody_looks(cli: Cli) -> None:
    out = cli("runtime", "show").out
    assert "claude-flow 3.43.0" in out
    assert "claude-code 2.1.330" in out
    long = max(cli("commands").out.splitlines(), key=len)
    assert len(long) > 80
    assert "…" not in long


def test_a_command_that_starts_claude_code_needs_the_model_s_network(cli: Cli) -> None:
    words = ("exec", "-o", "json", "--model-script", GREETER / "french.yaml")
    command = ("--", "hive-mind", "spawn", "--claude", "--objective=x", "--non-interactive")
    refused = cli(*words, "--dry-run", *command)
    assert (refused.code, refused.json["error"]["code"]) == (2, "invalid_job")
    assert "--network model" in refused.json["error"]["cure"]
    assert cli(*words, "--dry-run", "--network", "model", *command).code == 0


def test_the_minder_ends_npm_when_its_parent_died_before_it_looked(tmp_path: Path) -> None:
    # The parent's pid as it was told, and not as it is found: whoever died first has been replaced by then.
    node = find_node()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    process = subprocess.Popen(
        [*_node_argv(node), "-e", "setTimeout(() => {}, 60000)"],
        env={"PATH": "/usr/bin:/bin", "CFD_MINDED_BY": str(gone.pid)},
        start_new_session=True,
        cwd=tmp_path,
    )
    try:
        deadline = time.monotonic() + 10
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert process.poll() == -9
    finally:
        process.kill()
        process.wait()


def test_no_cure_names_an_option_that_is_not_there(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b", "c"):
        (source / name).write_text(name)
    small = CopyLimits(entries=2)
    (tmp_path / "store").mkdir()
    for refused in (
        lambda: copy_tree(source, tmp_path / "target", limits=small),
        lambda: Snapshots(tmp_path / "store", limits=small).take(source),
    ):
        with pytest.raises(InvalidSource) as caught:
            refused()
        assert "limit" not in (caught.value.cure or "")
