"""What runs of this user on this machine have left with a daemon, found by their labels and removed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection
from pathlib import Path

from claude_flow_dagger.runners.docker.boxes import remove_container, remove_volume
from claude_flow_dagger.runners.docker.client import Engine, told
from claude_flow_dagger.runners.docker.probe import PROBE
from claude_flow_dagger.runners.docker.spec import OWNER, RUN


def owner_of(cache: Path) -> str:
    """A name for the runs that are prepared in one cache directory of this machine.

    A daemon may be shared by users and machines, and only here can be told which of these runs still live.
    """
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        machine = ""
    parts = (machine, os.uname().nodename, str(os.geteuid()), str(cache))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


async def prune_leftovers(engine: Engine, owner: str, living: Callable[[], Collection[str]]) -> list[str]:
    """Remove the containers and volumes of runs that live no longer.

    Args:
        engine: where.
        owner: whose; see `owner_of`.
        living: the ids of the runs that still live. Asked after the containers were listed: what begins meanwhile
            isn't on the list.

    Returns:
        The names of what was removed.

    Raises:
        DaemonSays: the daemon does not answer.
    """
    ours = {"label": [f"{OWNER}={owner}"]}
    with told():
        containers = await engine.docker.containers.list(all=1, filters=_encoded(ours))
        volumes = (await engine.volumes.list(filters=ours)).get("Volumes") or []
    alive = living()
    removed = []
    for container in containers:
        shown = container._container
        run = str((shown.get("Labels") or {}).get(RUN))
        if run not in alive and not _probes(run):
            await remove_container(engine, container.id)
            removed.append(str((shown.get("Names") or [container.id])[0]).lstrip("/"))
    for volume in volumes:
        if (volume.get("Labels") or {}).get(RUN) not in alive:
            await remove_volume(engine, volume["Name"])
            removed.append(str(volume["Name"]))
    return removed


def _probes(run: str) -> bool:
    """Whether a probe is going on: it is no run, so its process tells, which is one of this machine's."""
    kind, _, rest = run.partition("-")
    pid = rest.partition("-")[0]
    return kind == PROBE and pid.isdecimal() and Path("/proc", pid).is_dir()


def _encoded(filters: dict[str, list[str]]) -> str:
    return json.dumps(filters)
