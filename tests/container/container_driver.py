"""A process that runs one sandbox in a container and prints what it hears. Argument: JSON, see `Bench.driver`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from bench import Bench

from claude_flow_dagger.runners.frames import Frame, Line


def say(frame: Frame) -> None:
    if isinstance(frame, Line):
        print(frame.text, flush=True)


def main() -> None:
    given = json.loads(sys.argv[1])
    bench = Bench(Path(given["base"]), given["address"], given["image"], given["owner"])
    gateway = Path(given["gateway"]) if given["gateway"] else None
    plan = {"gateway_socket": "/run/cfd/gateway.sock", "gateway_port": 0, "lease": True} if gateway else None
    sandbox = bench.sandbox(given["script"], gateway=gateway, plan=plan)
    asyncio.run(bench._with_runner(lambda runner: runner.run(sandbox, say)))


if __name__ == "__main__":
    main()
