"""The process between the CLI and a sandbox: whatever happens to either, nothing of the sandbox stays alive.

Run as `python -I -S warden.py CONFIG`, in a session of its own; standard library only, nothing of this package, so that
it starts in some 30 ms and holds no memory to speak of. CONFIG is JSON:

    argv         the command that starts the sandbox, with an empty environment and no input
    report_fd    where one JSON line goes at the end: {"ending", "code", "peak", "left"}
    memory, pids, cpus, wall    limits: bytes, processes and threads, processors, seconds
    grace        seconds between a gentle stop and the end
    depth        how many processes lie between `argv` and the entrypoint (bubblewrap: 2)
    plain        no sandbox around the entrypoint: then it gets a signal of its own when the warden is killed

Standard input is the lifeline: a `T` asks for a gentle stop, its end means that the CLI is gone.

What the limits are worth: memory and processes are counted from /proc every 0.1 s (less often on a machine with
thousands of processes, so that counting never takes more than a tenth of a processor), against accidents; a program
that means to can be faster, or hold memory that no process has mapped (memfd; the sandbox's tmpfs, which are sized).
Where the warden is root the kernel holds a coarse ceiling on processes as well. `cpus` picks that many processors
(rounded up) and pins to them; the sandbox could unpin itself.
"""

from __future__ import annotations

import ctypes
import errno
import json
import math
import os
import resource
import select
import signal
import sys
import time

TYPE_CHECKING = False  # importing typing would take longer than everything else here
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SAMPLE_S = 0.1
GIVE_UP_S = 30.0


class Process:
    """What /proc says of one process. `start` (ticks since boot) tells it from a later one with the same id."""

    __slots__ = ("dead", "parent", "pid", "start", "threads")

    def __init__(self, pid: int, parent: int, start: int, threads: int, dead: bool) -> None:
        self.pid = pid
        self.parent = parent
        self.start = start
        self.threads = threads
        self.dead = dead


def parse_stat(text: str) -> Process:
    """`/proc/PID/stat`; the command's name may hold spaces and brackets."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return Process(int(head.split(" ", 1)[0]), int(fields[1]), int(fields[19]), int(fields[17]), fields[0] in "ZX")


def read_process(pid: int) -> Process | None:
    """One process, None when there is none."""
    try:
        # Not open(): this is read for every process of the machine, ten times a second.
        handle = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return parse_stat(os.read(handle, 4096).decode("utf-8", "replace"))
    except ProcessLookupError:
        return None
    finally:
        os.close(handle)


def below(root: int, processes: dict[int, Process]) -> list[Process]:
    """Every descendant of `root`, without itself, parents before children."""
    children: dict[int, list[Process]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    ahead = [root]
    while ahead:
        born = children.get(ahead.pop(), [])
        found += born
        ahead += [process.pid for process in born]
    return found


def descendants(root: int) -> list[Process]:
    """Every descendant of `root` that lives right now."""
    read = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208
    return [process for process in below(root, {p.pid: p for p in read if p is not None}) if not process.dead]


def memory_of(pid: int) -> int:
    """Bytes that a process holds and that are no file's. What forked processes still share counts for each of them."""
    return _sum_of(f"/proc/{pid}/status", ("RssAnon:", "RssShmem:"))


def exact_memory_of(pid: int) -> int:
    """The same, but what processes share is divided among them. Takes the kernel a walk over all pages."""
    try:
        return _sum_of(f"/proc/{pid}/smaps_rollup", ("Pss_Anon:", "Pss_Shmem:"))
    except PermissionError:
        return memory_of(pid)


def _sum_of(path: str, fields: tuple[str, ...]) -> int:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            return sum(int(line.split()[1]) * 1024 for line in file if line.startswith(fields))
    except (FileNotFoundError, ProcessLookupError):
        return 0


def send(process: Process, number: int) -> None:
    """Signal exactly this process, never a later one that got its id."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError as error:
        if error.errno in (errno.ESRCH, errno.EINVAL):
            return
        raise
    try:
        now = read_process(process.pid)
        if now is not None and now.start == process.start:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


def reap() -> dict[int, int]:
    """Collect what died: id -> wait status. Descendants that lost their parent are children of this subreaper."""
    seen: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return seen
        if pid == 0:
            return seen
        seen[pid] = status


def end_all(give_up_s: float = GIVE_UP_S) -> tuple[dict[int, int], list[int]]:
    """Kill every descendant until there is none. Returns the wait statuses collected and the ids of what would not die.

    They are stopped first: what is stopped starts nothing new, so this ends even with a fork bomb.
    """
    seen: dict[int, int] = {}
    deadline = time.monotonic() + give_up_s
    frozen: set[tuple[int, int]] = set()
    while True:
        seen |= reap()
        living = descendants(os.getpid())
        if not living or time.monotonic() > deadline:
            return seen, [process.pid for process in living]
        fresh = [process for process in living if (process.pid, process.start) not in frozen]
        for process in fresh:
            send(process, signal.SIGSTOP)
            frozen.add((process.pid, process.start))
        if not fresh:
            for process in living:
                send(process, signal.SIGKILL)
            time.sleep(0.002)


class Warden:
    """One sandbox, from its start to the death of its last process."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.peak = 0
        self.child = 0
        self.stopping: float | None = None
        """When patience ends."""

    def start(self) -> None:
        """Prepare this process and start the child."""
        if self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
        os.set_inheritable(self.config["report_fd"], False)
        allowed = sorted(os.sched_getaffinity(0))
        wanted = max(1, math.ceil(self.config["cpus"]))
        if wanted < len(allowed):
            # Not always the first ones, so that runs side by side don't share them.
            first = os.getpid() % len(allowed)
            os.sched_setaffinity(0, (allowed[first:] + allowed[:first])[:wanted])
        warden = os.getpid()
        self.child = os.fork()
        if self.child == 0:
            self._become(warden)

    def _become(self, warden: int) -> NoReturn:
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if self.config["plain"]:
                self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
                if os.getppid() != warden:
                    os._exit(1)
            elif os.geteuid() == 0:
                # Root is exempt from it, its user in a new user namespace isn't. Well above the limit that is counted,
                # which is the one to be reported. Not for others: there it counts all that they run on the machine.
                ceiling = 2 * self.config["pids"] + 64
                resource.setrlimit(resource.RLIMIT_NPROC, (ceiling, ceiling))
            null = os.open(os.devnull, os.O_RDONLY)
            os.dup2(null, 0)
            argv = self.config["argv"]
            os.execve(argv[0], argv, {})  # noqa: S606
        except BaseException as error:
            os.write(2, f"warden: {self.config['argv'][0]}: {error}\n".encode())
        os._exit(127)

    def entrypoint(self, living: list[Process]) -> Process | None:
        """The process to ask for a gentle stop; None while it isn't there yet."""
        at = next((process for process in living if process.pid == self.child), None)
        for _ in range(self.config["depth"]):
            if at is None:
                return None
            # Orphans are adopted by a namespace's first process, so its oldest child is the one that it started.
            born = [process for process in living if process.parent == at.pid]
            at = min(born, key=lambda process: (process.start, process.pid), default=None)
        return at

    def measure(self, living: list[Process]) -> str | None:
        """The limit that is broken, if one is."""
        if sum(process.threads for process in living) > self.config["pids"]:
            return "too_many_processes"
        memory = sum(memory_of(process.pid) for process in living)
        if memory > self.config["memory"]:
            memory = sum(exact_memory_of(process.pid) for process in living)
        self.peak = max(self.peak, memory)
        return "out_of_memory" if memory > self.config["memory"] else None

    def stop(self, living: list[Process]) -> str | None:
        """Ask the entrypoint to end; an ending when there is nothing to ask."""
        if self.stopping is None:
            self.stopping = time.monotonic() + self.config["grace"]
            target = self.entrypoint(living)
            if target is None:
                return "stopped"
            send(target, signal.SIGTERM)
        return None

    def watch(self, wakeup: int) -> tuple[str, int | None]:
        """Until the child ends or has to: the ending, and the child's wait status."""
        hard_end = time.monotonic() + self.config["wall"]
        pause = 0.0
        sources = [0, wakeup]
        while True:
            ready, _, _ = select.select(sources, [], [], pause)
            said = os.read(0, 64) if 0 in ready else None
            numbers = os.read(wakeup, 64) if wakeup in ready else b""
            status = reap().get(self.child)
            if status is not None:
                return ("exited" if self.stopping is None else "stopped"), status
            if said == b"":
                return "orphaned", None
            began = time.monotonic()
            if began > hard_end:
                return "timed_out", None
            if self.stopping is not None and began > self.stopping:
                return "stopped", None
            living = descendants(os.getpid())
            ending = self.measure(living)
            asked = said is not None or any(number != signal.SIGCHLD for number in numbers)
            if ending is None and asked:
                ending = self.stop(living)
            if ending is not None:
                return ending, None
            pause = max(SAMPLE_S, 9 * (time.monotonic() - began))

    def run(self) -> dict[str, Any]:
        """Start, watch, kill; the report."""
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, _noticed)
        ending, status = "broken", None
        try:
            self.start()
            ending, status = self.watch(reading)
        finally:
            seen, left = end_all()
            status = seen.get(self.child) if status is None else status
        code = None if status is None else os.waitstatus_to_exitcode(status)
        if code is not None and code < 0:
            code = 128 - code
        return {"ending": ending, "code": code, "peak": self.peak, "left": left}


def _noticed(_number: int, _frame: FrameType | None) -> None:
    """The wakeup pipe carries the number; a handler must exist for it to be written."""


def main(argv: list[str]) -> int:
    """Run a warden for the configuration in `argv[1]`."""
    config = json.loads(argv[1])
    report = Warden(config).run()
    try:
        os.write(config["report_fd"], json.dumps(report).encode() + b"\n")
    except BrokenPipeError:
        return 1  # the CLI is gone; that is why we are here
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
