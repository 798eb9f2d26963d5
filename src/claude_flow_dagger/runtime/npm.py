"""npm and node-gyp: their command lines, their environment, and what their failures mean."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import ClaudeFlowDaggerError, OutOfSpace, RuntimeInstallError
from claude_flow_dagger.runtime.platforms import Node
from claude_flow_dagger.runtime.process import Ended, run

MINDED_BY: Final = "CFD_MINDED_BY"
"""By this variable `minder.cjs` knows whose end it waits for."""
INSTALL_TIMEOUT_S: Final = 900.0
COMPILE_TIMEOUT_S: Final = 1200.0

PASSED_ON: Final = (
    *("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"),
    *("SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "npm_config_registry", "NPM_CONFIG_REGISTRY"),
)
"""All that an install sees of the user's environment, beside the npmrc."""

_FLAGS: Final = (
    # Named even where they are npm's defaults: an npmrc can say otherwise.
    *("--omit=optional", "--ignore-scripts", "--no-bin-links", "--no-audit", "--no-fund", "--no-progress"),
    *(
        "--no-update-notifier",
        "--no-global",
        "--no-dry-run",
        "--no-engine-strict",
        "--package-lock",
        "--loglevel=error",
    ),
    # npm's own waits between tries add up to over a minute before it says that there is no network.
    *("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"),
)

_NETWORK: Final = (
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "ENOTCACHED",
)
_TLS: Final = ("UNABLE_TO_VERIFY", "UNABLE_TO_GET_ISSUER", "SELF_SIGNED", "CERT_", "ERR_TLS")
_CURES: Final[tuple[tuple[tuple[str, ...], str], ...]] = (
    (_TLS, "set NODE_EXTRA_CA_CERTS to the file with your site's CA certificates"),
    (_NETWORK, "is this machine online? Set HTTPS_PROXY for a proxy, NPM_CONFIG_REGISTRY (or ~/.npmrc) for a mirror"),
    (("E401", "E403"), "the registry refused: check the credentials in ~/.npmrc"),
    (
        ("E404", "ETARGET"),
        "the registry does not have a pinned package: check the mirror in NPM_CONFIG_REGISTRY or ~/.npmrc",
    ),
    (("EINTEGRITY",), "the registry serves other bytes than the lock names: check the mirror, then try again"),
    (
        ("heap out of memory", "Allocation failed"),
        "npm ran out of its 3 GiB: try again, and report it if it happens twice",
    ),
    (("EACCES", "EPERM", "EROFS"), "the cache directory must be writable: set XDG_CACHE_HOME to another one"),
)


def environment(
    node: Node, *, home: Path, npm_cache: Path, temporary: Path, environ: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of an npm process; the minder in it watches this process."""
    env = {name: environ[name] for name in PASSED_ON if environ.get(name)}
    env |= {
        "PATH": str(node.executable.parent),
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "CI": "true",
        "LANG": "C.UTF-8",
        MINDED_BY: str(os.getpid()),
        "npm_config_cache": str(npm_cache),
    }
    npmrc = environ.get("npm_config_userconfig") or environ.get("NPM_CONFIG_USERCONFIG")
    if npmrc is None and environ.get("HOME"):
        npmrc = str(Path(environ["HOME"]) / ".npmrc")
    if npmrc is not None and Path(npmrc).is_file():
        env["npm_config_userconfig"] = npmrc
    if "SSL_CERT_FILE" in env:
        # Node reads this one only when told to use OpenSSL's store; npm's own way is NODE_EXTRA_CA_CERTS.
        env.setdefault("NODE_EXTRA_CA_CERTS", env["SSL_CERT_FILE"])
    return env


def _node_argv(node: Node) -> list[str]:
    minder = Path(__file__).parent / "minder.cjs"
    return [str(node.executable), "--max-old-space-size=2000", "--require", str(minder)]


def install(
    node: Node, title: str, *, into: Path, env: Mapping[str, str], cancel: threading.Event, on_tick: Callable[[], None]
) -> None:
    """`npm ci` in a directory that holds package.json and its lock.

    Raises:
        RuntimeInstallError, OutOfSpace: npm failed; its last words and the cure are told.
    """
    argv = [*_node_argv(node), str(node.npm), "ci", *_FLAGS]
    ended = run(argv, cwd=into, env=env, timeout_s=INSTALL_TIMEOUT_S, cancel=cancel, is_node=True, on_tick=on_tick)
    if ended.code != 0:
        raise failure(f"npm could not install {title}", into, ended)


def check_compiler(title: str, environ: Mapping[str, str]) -> None:
    """Say early that something must be compiled and cannot be.

    Raises:
        RuntimeInstallError: a compiler, C++ compiler or make is missing; all that are missing are named.
    """
    path = environ.get("PATH", "")
    missing = [name for name in ("cc", "c++", "make") if shutil.which(name, path=path) is None]
    if missing:
        raise RuntimeInstallError(
            f"{title} has parts that are compiled here, and {', '.join(missing)} is missing",
            cure="install a C++ compiler and make (Debian: apt-get install g++ make), or use claude-flow 3.43.0",
        )


def compile_package(
    node: Node,
    package: Path,
    *,
    env: Mapping[str, str],
    path: str,
    cancel: threading.Event,
    on_tick: Callable[[], None],
) -> None:
    """Compile a native package with the headers inside Node's wheel: nothing is downloaded.

    Args:
        path: the user's PATH, where the compiler is.

    Raises:
        RuntimeInstallError, OutOfSpace: the compiler failed.
    """
    argv = [
        *_node_argv(node),
        str(node.gyp),
        "rebuild",
        "--release",
        f"--nodedir={node.root}",
        f"--python={sys.executable}",
    ]
    own = {**env, "PATH": f"{env['PATH']}:{path}", "JOBS": "max"}
    ended = run(argv, cwd=package, env=own, timeout_s=COMPILE_TIMEOUT_S, cancel=cancel, is_node=True, on_tick=on_tick)
    if ended.code != 0:
        raise failure(f"{package.name} could not be compiled", package, ended)


def failure(what: str, where: Path, ended: Ended) -> ClaudeFlowDaggerError:
    """The error for a failed process, with its last lines and the cure that they suggest. Pure."""
    lines = [line for line in ended.output.splitlines() if line.strip() and "complete log of this run" not in line]
    told = "\n".join(lines[-8:]) or "it said nothing"
    if "ENOSPC" in ended.output or "No space left on device" in ended.output:
        return OutOfSpace(
            f"{what}: no space left in {where}", cure="free some space, or set XDG_CACHE_HOME to another disk"
        )
    how = f"signal {-ended.code}" if ended.code < 0 else f"exit status {ended.code}"
    cure = next((cure for signs, cure in _CURES if any(sign in ended.output for sign in signs)), "try again")
    return RuntimeInstallError(f"{what} ({how}):\n{told}", cure=cure)
