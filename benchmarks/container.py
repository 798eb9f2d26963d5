"""What a container costs: until the first output, over a job of 30 s, and for 100 runs submitted at once.

    python benchmarks/container.py start|overhead|crowd [--image IMAGE] [--pairs N] [--runs 100] [--json FILE]

`start`     until a sandbox's first output, in pairs with the same sandbox of the local runner.
`overhead`  a job of 30 s of work (`--seconds`), in pairs with the same commands as a plain process.
`crowd`     so many scripted agent runs, each a command line of its own, started at once: how many worked at the
            same time, the least free memory, failures, and kills for want of memory.

Needs a daemon (DOCKER_HOST), an image with the runtime and, for `start`, bubblewrap. Times are compared within one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from claude_flow_dagger.cli.admission import free_memory
from claude_flow_dagger.job import Limits, Network, Pins
from claude_flow_dagger.plan import Plan
from claude_flow_dagger.runners.base import Runner, Sandbox
from claude_flow_dagger.runners.container import ContainerRunner
from claude_flow_dagger.runners.docker.client import connect, find_address
from claude_flow_dagger.runners.docker.image import default_image, local_runtime_image
from claude_flow_dagger.runners.frames import Line
from claude_flow_dagger.runners.local import LocalRunner
from claude_flow_dagger.runtime.install import install

ROOT = Path(__file__).parents[1]
GREETER = ROOT / "examples" / "greeter"
# A second of work: hashing, small files and processes, as builds and tests do. It depends on no machine's speed.
WORK = (
    "i=0; while [ $i -lt {rounds} ]; do head -c 20000000 /dev/zero | sha256sum >/dev/null; "
    "j=0; while [ $j -lt 50 ]; do echo $j > f$j; cat f$j >/dev/null; j=$((j+1)); done; i=$((i+1)); done; echo done"
)


async def first_output(runner: Runner, base: Path, script: str) -> tuple[float, float]:
    """Seconds until the first line, and until the end, of a sandbox."""
    with tempfile.TemporaryDirectory(prefix="b-", dir=base) as directory:
        workspace, control = Path(directory) / "w", Path(directory) / "c"
        workspace.mkdir()
        control.mkdir(mode=0o700)
        layout = runner.layout(workspace, control)
        plan = Plan.model_validate(
            {
                "cwd": layout.workspace,
                "env": {"PATH": "/usr/bin:/bin"},
                "steps": [{"name": "main", "argv": ["sh", "-c", script]}],
            }
        )
        sandbox = Sandbox(
            run_id=f"bench-{secrets.token_hex(6)}", purpose="agent", plan=plan, workspace=workspace, control=control,
            limits=Limits(wall=600), network=Network.NONE,
        )  # fmt: skip
        lines: list[float] = []
        began = time.perf_counter()
        await runner.run(sandbox, lambda frame: lines.append(time.perf_counter()) if isinstance(frame, Line) else None)
        return lines[0] - began, time.perf_counter() - began


async def with_containers(image: str, use: Callable[[ContainerRunner], Awaitable[Any]], base: Path) -> Any:
    address = find_address(os.environ.get("DOCKER_HOST"), None, Path.home())
    async with connect(address) as engine:
        found = await local_runtime_image(engine, image, Pins())
        return await use(ContainerRunner(engine, found, owner="benchmark", temp=base))


async def measure_start(image: str, pairs: int, base: Path) -> dict[str, Any]:
    """Containers and bubblewrap, in turn."""
    runtime = install(cache(), Pins(), with_claude=True, environ=dict(os.environ), on_progress=lambda _: None)
    local = LocalRunner(runtime, allow_unsandboxed=False, scratch=base)

    async def use(container: ContainerRunner) -> list[tuple[float, float]]:
        await first_output(container, base, "echo warm")
        await first_output(local, base, "echo warm")
        found = []
        for _ in range(pairs):
            one = (await first_output(container, base, "echo first"))[0]
            found.append((one, (await first_output(local, base, "echo first"))[0]))
        return found

    measured = await with_containers(image, use, base)
    return {
        "container_s": spread([one for one, _ in measured]),
        "local_s": spread([other for _, other in measured]),
        "ratio": spread([one / other for one, other in measured]),
    }


async def measure_overhead(image: str, pairs: int, seconds: float, base: Path) -> dict[str, Any]:
    """The same work in a container and as a plain process, in turn; all that the runner does is counted."""
    began = time.perf_counter()
    native(WORK.format(rounds=4), base)
    rounds = max(1, round(4 * seconds / (time.perf_counter() - began)))
    script = WORK.format(rounds=rounds)

    async def use(container: ContainerRunner) -> list[tuple[float, float]]:
        found = []
        for _ in range(pairs):
            one = (await first_output(container, base, script))[1]
            found.append((one, await asyncio.to_thread(native, script, base)))
        return found

    measured = await with_containers(image, use, base)
    return {
        "container_s": spread([one for one, _ in measured]),
        "native_s": spread([other for _, other in measured]),
        "ratio": spread([one / other for one, other in measured]),
    }


def native(script: str, base: Path) -> float:
    """Seconds of the same commands without anything around them."""
    with tempfile.TemporaryDirectory(prefix="n-", dir=base) as directory:
        began = time.perf_counter()
        subprocess.run(["sh", "-c", script], cwd=directory, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - began


def measure_crowd(image: str, runs: int) -> dict[str, Any]:
    """So many command lines at once."""
    words = ["run", "Greet in French too", "--source", str(GREETER), "--model-script", str(GREETER / "french.yaml")]
    words += ["--strategy", "direct", "--runner", "container", "--image", image, "--output", "json"]
    killed_before = oom_kills()
    began = time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "claude_flow_dagger", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for _ in range(runs)
    ]
    at_once, least_free = 0, free_memory()
    while any(process.poll() is None for process in processes):
        listed = subprocess.run(
            ["docker", "ps", "--quiet", "--filter", "label=dev.claude-flow-dagger.purpose=agent"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        at_once = max(at_once, len(listed.stdout.split()))
        least_free = min(least_free, free_memory())
        time.sleep(0.5)
    seconds = time.perf_counter() - began
    verdicts: Counter[str] = Counter()
    for process in processes:
        out = process.communicate()[0]
        try:
            result = json.loads(out)
        except ValueError:
            result = {"verdict": f"no result (exit {process.returncode})"}
        verdicts[result.get("verdict") or result["error"]["message"]] += 1
    return {
        "runs": runs, "seconds": round(seconds, 1), "at_once": at_once, "least_free_mib": least_free >> 20,
        "verdicts": dict(verdicts), "oom_kills": oom_kills() - killed_before,
    }  # fmt: skip


def oom_kills() -> int:
    """How often the kernel has killed for want of memory since it started."""
    return int(Path("/proc/vmstat").read_text().partition("oom_kill ")[2].split()[0])


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "claude-flow-dagger"


def spread(values: list[float]) -> dict[str, float]:
    """Least, median and most."""
    return {
        "min": round(min(values), 3),
        "median": round(statistics.median(values), 3),
        "max": round(max(values), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("start", "overhead", "crowd"))
    parser.add_argument("--image", default=default_image(Pins()))
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cfd-bench-") as directory:
        base = Path(directory)
        if asked.what == "start":
            found = asyncio.run(measure_start(asked.image, asked.pairs, base))
        elif asked.what == "overhead":
            found = asyncio.run(measure_overhead(asked.image, asked.pairs, asked.seconds, base))
        else:
            found = measure_crowd(asked.image, asked.runs)
    machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
    text = json.dumps({"what": asked.what, **machine, **found}, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
