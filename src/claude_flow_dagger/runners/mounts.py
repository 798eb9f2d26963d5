"""Which paths of this machine a job may ask to see."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import RefusedInput

_WHOLE: Final = ("/run", "/var/run", "/proc", "/sys", "/dev", "/etc", "/boot", "/var/lib/docker", "/var/lib/containers")
"""Neither these, nor anything in them, nor anything around them."""
_HOMES: Final = ("/root", "/home")
"""Not as a whole; directories in them may be asked for."""
_SECRET_IN_HOME: Final = (
    *(".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".config", ".local/share/keyrings"),
    *(".claude", ".claude.json", ".netrc", ".git-credentials", ".npmrc", ".pypirc"),
)
"""Where keys are kept. Neither these, nor anything in them, nor anything around them."""
_OURS: Final = ("/workspace", "/opt/claude-flow-dagger", "/home/agent", "/usr", "/bin", "/sbin", "/lib", "/lib64")
"""Places that the sandbox itself uses."""
_COPY: Final = "copy what the run needs to a directory of its own and mount that"


def check_mounts(mounts: Iterable[Path], home: Path) -> tuple[tuple[Path, Path], ...]:
    """Mounts as (the real path, the place inside), once each is known to be harmless.

    Args:
        mounts: absolute paths that a job asks for.
        home: the home directory of whoever runs this.

    Raises:
        RefusedInput: a path is missing, is a socket or device, or shows more of this machine than a job may see.
    """
    return tuple((_check(path, home), path) for path in mounts)


def _check(path: Path, home: Path) -> Path:
    if not path.is_absolute() or ".." in path.parts:
        raise RefusedInput(f"mount {path}: is no plain absolute path")
    try:
        real = path.resolve(strict=True)
        kind = real.stat().st_mode
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise RefusedInput(f"mount {path}: {reason}", cure="name a file or directory that exists") from error
    if not (stat.S_ISDIR(kind) or stat.S_ISREG(kind)):
        raise RefusedInput(f"mount {path}: is neither a file nor a directory", cure=_COPY)
    secrets = [home / name for name in _SECRET_IN_HOME]
    for shown in {path, real}:
        for fence in (*map(Path, _WHOLE), *secrets):
            if _overlap(shown, fence):
                raise RefusedInput(f"mount {path}: would show {fence} to the sandbox", cure=_COPY)
        for fence in (home, *map(Path, _HOMES)):
            if fence.is_relative_to(shown):
                raise RefusedInput(f"mount {path}: would show {fence} to the sandbox", cure=_COPY)
    for place in map(Path, _OURS):
        if _overlap(path, place):
            raise RefusedInput(f"mount {path}: the sandbox has its own {place}", cure=_COPY)
    if path == Path("/tmp"):  # noqa: S108 - compared, not used
        raise RefusedInput(f"mount {path}: the sandbox has its own", cure="mount a directory in it")
    return real


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)
