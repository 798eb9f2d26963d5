"""`claude-flow-dagger gateway` as a process: it serves, counts, and ends on a signal with its sums."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2

ROOT = Path(__file__).parents[2]


def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    words = ("gateway", "--model-script", str(ROOT / "examples/greeter/french.yaml"), "--ledger", str(ledger))
    environ = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    environ |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    process = subprocess.Popen(
        [sys.executable, "-m", "claude_flow_dagger", *words, "--requests", "1"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        body = {"model": "claude-sonnet-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}]}
        headers = {"x-api-key": ready["token"]}
        with httpx2.Client(base_url=ready["address"], trust_env=False) as client:
            assert client.post("/v1/messages", json=body, headers=headers).status_code == 200
            assert client.post("/v1/messages", json=body, headers={"x-api-key": "x" * 40}).status_code in (401, 403)
            spent = client.post("/v1/messages", json=body, headers=headers)
        assert (spent.status_code, spent.json()["error"]["type"]) == (403, "permission_error")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    sums = json.loads(out)["ledger"]
    assert (sums["requests"], sums["refusals"]["budget_requests"]) == (1, 1)
    assert len(ledger.read_text().splitlines()) == 3
