"""A run's own directories, and the removal of what a killed run left behind."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from claude_flow_dagger.workspace.remove import remove_tree

_LOCK: Final = "lock"
_TEMP: Final = "temp"
_FRESH: Final = ".new-"
_SETTLED_S: Final = 600.0
"""Seconds. A living process has a directory without a held lock for a moment only."""


def new_run_id(now: datetime) -> str:
    """A run's id: sorts by time, valid as a name of a container, a Kubernetes Job and a directory."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Scratch:
    """Where one run keeps its things.

    Args:
        root: in the user's cache, on a disk that is large enough for a workspace.
        temp: short enough for sockets, 0700.
    """

    root: Path
    temp: Path

    @property
    def workspace(self) -> Path:
        """The copy that the agent works in."""
        return self.root / "workspace"

    @property
    def objects(self) -> Path:
        """The private store of snapshots."""
        return self.root / "objects"

    @property
    def socket(self) -> Path:
        """The gateway's socket."""
        return self.temp / "gw.sock"

    def control(self, purpose: str) -> Path:
        """The control directory of one sandbox, made anew."""
        path = self.temp / purpose
        path.mkdir(mode=0o700)
        return path


@contextmanager
def open_scratch(cache: Path, temp: Path, run_id: str) -> Iterator[Scratch]:
    """Directories for a run, removed at its end. A lock tells the living from what a kill left.

    Args:
        cache: the user's cache directory for this program.
        temp: where sockets may go.
        run_id: see `new_run_id`.

    Raises:
        OSError: a directory cannot be made.
    """
    # A sandbox is made of these: bubblewrap would not find a relative one.
    cache, temp = cache.absolute(), temp.absolute()
    runs = cache / "runs"
    runs.mkdir(parents=True, exist_ok=True, mode=0o700)
    remove_leftovers(cache)
    # Locked before it appears among the runs: another process that looks for leftovers never sees it unlocked.
    fresh = Path(tempfile.mkdtemp(prefix=_FRESH, dir=runs))
    lock = os.open(fresh / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    root = runs / run_id
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh.rename(root)
        sockets = Path(tempfile.mkdtemp(prefix="cfd-", dir=temp))
        try:
            (root / _TEMP).write_text(str(sockets))
            yield Scratch(root, sockets)
        finally:
            remove_tree(sockets)
    finally:
        remove_tree(root)
        os.close(lock)


def remove_leftovers(cache: Path) -> list[Path]:
    """Remove the directories of runs that were killed; those of living runs are locked and stay.

    Args:
        cache: the user's cache directory for this program.

    Returns:
        What was removed.
    """
    removed = []
    for root in sorted((cache / "runs").glob("*")):
        if root.name.startswith(_FRESH) and not _settled(root):
            continue
        try:
            lock = os.open(root / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            # Killed before it was locked, while a sandbox was tried out, or half way through an earlier removal.
            if _settled(root):
                remove_tree(root)
                removed.append(root)
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue
        else:
            _remove_run(root)
            removed.append(root)
        finally:
            os.close(lock)
    return removed


def living_runs(cache: Path) -> set[str]:
    """The ids of the runs whose process lives: those that hold their lock.

    Args:
        cache: the user's cache directory for this program.
    """
    living = set()
    for root in (cache / "runs").glob("*"):
        try:
            lock = os.open(root / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # not a run yet, or no longer
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            living.add(root.name)
        finally:
            os.close(lock)
    return living


def _settled(root: Path) -> bool:
    try:
        return time.time() - root.lstat().st_mtime > _SETTLED_S
    except FileNotFoundError:
        return False


def _remove_run(root: Path) -> None:
    with suppress(OSError):
        temp = Path((root / _TEMP).read_text())
        # The name is ours alone; anything else in that file was not written by us.
        if temp.name.startswith("cfd-") and temp.stat().st_uid == os.getuid():
            shutil.rmtree(temp, ignore_errors=True)
    remove_tree(root)
