"""Removing images of ours that nothing names any more."""

from __future__ import annotations

import json
from dataclasses import dataclass

from claude_flow_dagger.image.engine import QUICK_S, Engine, Kind, failure, run
from claude_flow_dagger.image.spec import LABEL, REPOSITORY

PRUNE_S = 600.0
_OURS = (f"label={LABEL}.layout", "label=org.opencontainers.image.title=claude-flow-dagger-cli")


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What went, and what stayed because a container uses it; `cache` is the client's last word on its build cache."""

    removed: tuple[str, ...]
    kept: tuple[str, ...]
    cache: str = ""


def find_unused(engine: Engine, *, layered: bool) -> list[str]:
    """Images of ours without a tag, which a later build took over; with `layered` also users' images with our runtime.

    Raises:
        InfrastructureError: the daemon does not list them.
    """
    found: dict[str, None] = {}
    for label in _OURS:
        queries = [["--filter", "dangling=true", "--filter", label]]
        if layered:
            queries.append(["--filter", f"reference={REPOSITORY}:layered-*", "--filter", label])
        for query in queries:
            done = run(engine, ["image", "ls", "--no-trunc", "--format", "{{json .}}", *query], timeout_s=QUICK_S)
            if done.code != 0:
                raise failure("the images here cannot be listed", done)
            for line in done.output.splitlines():
                image = json.loads(line)
                tag = str(image.get("Tag") or "<none>")
                named = layered and tag.startswith("layered-")
                found[f"{REPOSITORY}:{tag}" if named else str(image.get("ID") or image.get("Id"))] = None
    return list(found)


def prune(engine: Engine, *, layered: bool, cache: bool) -> Pruned:
    """Remove them.

    Args:
        layered: users' images with the runtime on top too; the next run with `--image` makes them again.
        cache: the daemon's build cache too, whatever it was used for; the next build is a cold one.

    Raises:
        InfrastructureError: the daemon refused.
    """
    removed: list[str] = []
    kept: list[str] = []
    for image in find_unused(engine, layered=layered):
        done = run(engine, ["image", "rm", image], timeout_s=PRUNE_S)
        (removed if done.code == 0 else kept).append(image)
    said = ""
    if cache:
        argv = (
            ["builder", "prune", "--force"]
            if engine.kind is Kind.DOCKER
            else ["image", "prune", "--force", "--build-cache"]
        )
        done = run(engine, argv, timeout_s=PRUNE_S)
        if done.code != 0:
            raise failure("the build cache cannot be pruned", done)
        said = (done.output.strip().splitlines() or [""])[-1]
    return Pruned(removed=tuple(removed), kept=tuple(kept), cache=said)
