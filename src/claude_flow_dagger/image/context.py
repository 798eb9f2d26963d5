"""What a build may see: a copy of this package's own files, laid out as in a clone, and nothing else of the machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from claude_flow_dagger.errors import RefusedInput
from claude_flow_dagger.image.spec import Target

PACKAGE: Final = Path(__file__).resolve().parents[1]
DOCKERFILE: Final = PACKAGE / "runtime" / "Dockerfile"
LAYER_DOCKERFILE: Final = PACKAGE / "runtime" / "layer.Dockerfile"
USER_SCRIPT: Final = PACKAGE / "runtime" / "container" / "user.sh"


def find_requirements(package: Path = PACKAGE) -> Path | None:
    """The lock of this package's dependencies: in a clone at its root, in a wheel beside the Dockerfile."""
    places = (package.parents[1] / "requirements.lock", package / "runtime" / "requirements.lock")
    return next((place for place in places if place.is_file()), None)


def stage(target: Target, into: Path, package: Path = PACKAGE) -> Path:
    """Make the context of a build.

    Args:
        into: an empty directory.

    Returns:
        The Dockerfile in it.

    Raises:
        RefusedInput: the target needs the lock of the dependencies, and this installation came without it.
    """
    requirements = find_requirements(package)
    if requirements is None and target is Target.CLI:
        raise RefusedInput(
            "the target cli needs requirements.lock, which this installation lacks", cure="build it in a clone"
        )
    copied = into / "src" / "claude_flow_dagger"
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    if target is Target.CLI:
        shutil.copytree(package, copied, ignore=ignored)
    else:
        shutil.copytree(package / "runtime", copied / "runtime", ignore=ignored)
        for name in ("__init__.py", "errors.py"):
            shutil.copyfile(package / name, copied / name)
    if requirements is not None:
        shutil.copyfile(requirements, into / "requirements.lock")
    for path in into.rglob("*"):
        # Modes are part of the cache's key, and a umask must not decide what the image's user can read.
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copied / "runtime" / "Dockerfile"
