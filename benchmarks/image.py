"""What images cost: a cold and a warm build, their sizes, and the memory of claude-flow's own commands in them.

    python benchmarks/image.py build|sizes|memory|repeat [--builds 100] [--json FILE]

`build`   the target `agent` without any cache, then again after a source file of ours has changed: seconds, the
          ratio, and the share of steps that came from the cache.
`sizes`   of every target, unpacked, as the daemon tells them.
`memory`  the most that claude-flow's commands and its MCP server use in a container, and the server's when it is idle.
`repeat`  so many cold builds in a row; how many succeeded.

Needs a daemon, and the stand-ins of `scripts/make-base-images`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TARGETS = ("claude-flow", "distroless", "agent", "cli")
CA = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
COMMANDS = {
    "--version": ("--version",),
    "memory init": ("memory", "init", "--force"),
    "memory store": ("memory", "store", "-k", "a", "--value", "some words"),
    "hive-mind init": ("hive-mind", "init"),
    "swarm init": ("swarm", "init"),
    "doctor": ("doctor",),
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}},
}


def build(tree: Path, target: str, *more: str) -> dict[str, Any]:
    """One build by the command line of a copy of this repository."""
    words = ["image", "build", "--target", target, "--stand-ins", "--output", "json", "--tag", f"cfd-bench:{target}"]
    if CA.is_file():
        words += ["--ca", str(CA)]
    env = {**os.environ, "PYTHONPATH": str(tree / "src")}
    done = subprocess.run(
        [sys.executable, "-m", "claude_flow_dagger", *words, *more],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        return {"error": done.stdout[-300:] or done.stderr[-300:]}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure_build() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "tree"
        shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE", "uv.lock", "requirements.lock"):
            shutil.copy(ROOT / name, tree / name)
        cold = build(tree, "agent", "--no-cache")
        source = tree / "src/claude_flow_dagger/runtime/entrypoint.mjs"
        source.write_text(source.read_text() + f"// {time.time()}\n")
        warm = build(tree, "agent")
    if "error" in cold or "error" in warm:
        return {"cold": cold, "warm": warm}
    return {
        "cold_s": round(cold["seconds"], 1), "warm_s": round(warm["seconds"], 1),
        "ratio": round(warm["seconds"] / cold["seconds"], 3), "steps": warm["steps"],
        "cached_percent": round(100 * warm["reused"] / warm["steps"]),
    }  # fmt: skip


def measure_sizes() -> dict[str, Any]:
    return {target: build(ROOT, target).get("size", 0) // 10**6 for target in TARGETS}


def docker(*words: str, given: str = "") -> str:
    done = subprocess.run(["docker", *words], input=given, capture_output=True, text=True, check=False)
    return done.stdout


def peak_of(container: str) -> int:
    """The most bytes that a running container's processes have used, caches of files left out."""
    least = json.loads(docker("inspect", container))[0]["Id"]
    for pattern in (f"memory/docker/{least}/memory.stat", f"docker/{least}/memory.stat"):
        path = Path("/sys/fs/cgroup") / pattern
        if path.is_file():
            fields = dict(line.split() for line in path.read_text().splitlines())
            return int(fields.get("total_rss") or fields.get("anon") or 0)
    return 0


def watch(container: str, process: subprocess.Popen[str] | None, seconds: float) -> tuple[int, int]:
    """The most, and the last, that was seen until the process ends or the time is over."""
    most = last = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end and (process is None or process.poll() is None):
        try:
            last = peak_of(container) or last
        except (IndexError, ValueError, FileNotFoundError):
            break
        most = max(most, last)
        time.sleep(0.02)
    return most, last


def measure_memory() -> dict[str, Any]:
    build(ROOT, "claude-flow")
    flags = ("--network", "none", "--memory", "1g", "--tmpfs", "/workspace:uid=1001", "--name")
    peaks: dict[str, int] = {}
    for name, words in COMMANDS.items():
        container = f"cfd-bench-{time.time_ns()}"
        docker("create", *flags, container, "cfd-bench:claude-flow", *words)
        process = subprocess.Popen(["docker", "start", "--attach", container], stdout=subprocess.DEVNULL, text=True)
        peaks[name] = watch(container, process, 60)[0] >> 20
        process.wait()
        docker("rm", "--force", container)
    container = f"cfd-bench-{time.time_ns()}"
    argv = ["docker", "run", "--rm", "--interactive", *flags, container, "cfd-bench:claude-flow", "mcp", "start"]
    process = subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(INITIALIZE) + "\n")
    process.stdin.flush()
    process.stdout.readline()
    most, last = watch(container, None, 10)
    process.stdin.close()
    docker("rm", "--force", container)
    process.wait()
    return {"peak_mib": peaks, "mcp_peak_mib": most >> 20, "mcp_idle_mib": last >> 20}


def measure_repeat(builds: int) -> dict[str, Any]:
    seconds, errors = [], []
    for number in range(builds):
        found = build(ROOT, "agent", "--no-cache")
        if "error" in found:
            errors.append(found["error"])
        else:
            seconds.append(found["seconds"])
        print(f"{number + 1}/{builds}: {found.get('seconds', 'failed')}", file=sys.stderr, flush=True)
    return {
        "builds": builds, "succeeded": len(seconds), "errors": errors[:5],
        "median_s": round(statistics.median(seconds), 1) if seconds else None,
        "max_s": round(max(seconds), 1) if seconds else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("build", "sizes", "memory", "repeat"))
    parser.add_argument("--builds", type=int, default=100)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    measures = {"build": measure_build, "sizes": measure_sizes, "memory": measure_memory}
    found = measure_repeat(asked.builds) if asked.what == "repeat" else measures[asked.what]()
    text = json.dumps({"what": asked.what, "cpus": os.cpu_count(), **found}, indent=1)
    print(text)
    if asked.json:
        asked.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
