"""Kinds of tests (`kinds.py`), and fixtures that every area uses."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

from claude_flow_dagger.job import Pins
from claude_flow_dagger.runtime.install import Runtime, install
from kinds import KINDS, required

# Times don't hold on shared machines: a slow example is no failure.
settings.register_profile("ours", deadline=None)
settings.load_profile("ours")

LEFT_OUT = pytest.StashKey[dict[str, tuple[str, int]]]()


def pytest_configure(config: pytest.Config) -> None:
    for kind in KINDS:
        config.addinivalue_line("markers", f"{kind.name}: needs {kind.needs}")
    config.addinivalue_line("markers", "soak: long random-moment kill and load tests, `make soak`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out `soak` unless asked for by `-m`, and the kinds that this machine lacks."""
    must = required()
    used = Counter(kind.name for item in items for kind in KINDS if item.get_closest_marker(kind.name))
    missing = {kind.name: why for kind in KINDS if used[kind.name] or kind.name in must if (why := kind.missing())}
    absent = sorted(must & missing.keys())
    if absent:
        raise pytest.UsageError("; ".join(f"REQUIRE asks for {name}: {missing[name]}" for name in absent))
    out = [item for item in items if any(item.get_closest_marker(name) for name in missing)]
    if not config.option.markexpr:
        out += [item for item in items if item.get_closest_marker("soak") and item not in out]
    config.stash[LEFT_OUT] = {name: (why, used[name]) for name, why in missing.items()}
    if out:
        gone = set(out)
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if item not in gone]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for name, (why, count) in config.stash.get(LEFT_OUT, {}).items():
        terminalreporter.write_line(f"left out: {count} tests of kind {name} ({why})")


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """The user's real cache directory: what is installed there once serves every later run of the tests."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "claude-flow-dagger"


@pytest.fixture(scope="session")
def runtime(cache_dir: Path) -> Runtime:
    """The real Node, claude-flow 3.43.0 and Claude Code."""
    return install(cache_dir, Pins(), with_claude=True, environ=dict(os.environ), on_progress=lambda _: None)
