"""An agent that looks for the key and for a way out, in the real sandbox, with a real key outside of it.

The upstream is a stand-in for the model on loopback: it plays turns, and notes which key it was shown.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import GREETER, TIMEOUT_S, Cli, Place, Ran, command, environment

pytestmark = [pytest.mark.real, pytest.mark.sandbox, pytest.mark.usefixtures("runtime")]

KEY = "sk-ant-api03-" + "Zq7" * 20

# What the agent runs. Everything it finds goes to its output, which comes back in the result and the events.
LOOK = r"""
echo "== env"; env
echo "== environ"; cat /proc/*/environ 2>/dev/null | tr '\0' '\n'
echo "== cmdline"; cat /proc/*/cmdline 2>/dev/null | tr '\0' ' '
out="--exclude-dir=proc --exclude-dir=sys --exclude-dir=usr --exclude-dir=opt"
echo "== files"; grep -rIl $out "Zq[7]Zq[7]" / 2>/dev/null | head
for f in /etc/shadow /root /home/agent/../../root /run/docker.sock /var/run/docker.sock /var/lib /opt/wheels; do
  [ -e "$f" ] && echo "SE""EN $f"; done
echo "== processes"; ls /proc | grep -c '^[0-9]'
echo "== who"; id -u; grep -E '^(CapEff|NoNewPrivs)' /proc/self/status
touch /usr/made /etc/made /opt/claude-flow-dagger/made /made 2>/dev/null && echo "WRO""TE outside"
mount -t tmpfs none /mnt 2>/dev/null && echo "MOUN""TED"
unshare -Ur true 2>/dev/null && echo "NEW USER NAME""SPACE"
echo "== network"; cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '
cat /proc/net/route | tail -n +2 | wc -l
"""

CONNECT = r"""
const net = require('net'), dns = require('dns');
const listener = Number(process.argv[2]), gateway = new URL(process.env.ANTHROPIC_BASE_URL);
const targets = [['127.0.0.1', listener], ['10.0.0.1', 80], ['10.88.0.1', 80], ['172.17.0.1', 80], ['192.168.0.1', 80],
  ['169.254.169.254', 80], ['8.8.8.8', 53], ['1.1.1.1', 443], ['::1', listener]];
const attempt = ([host, port]) => new Promise((done) => {
  const s = net.connect({ host, port, timeout: 2000 }, () => { console.log('CONNECTED', host); s.destroy(); done(); });
  s.on('error', (e) => { console.log('refused', host, e.code); done(); });
  s.on('timeout', () => { console.log('silent', host); s.destroy(); done(); });
});
const abstract = () => new Promise((done) => {
  const found = () => { console.log('CONNECTED abstract'); s.destroy(); done(); };
  const s = net.connect({ path: '\0cfd-test-abstract' }, found);
  s.on('error', () => done());
});
const ask = async (path, init) => console.log('gateway', path, (await fetch(gateway + path, init)).status);
(async () => {
  for (const target of targets) await attempt(target);
  await abstract();
  await dns.promises.lookup('example.com').then(() => console.log('RESOLVED'), () => console.log('no names'));
  const key = { 'x-api-key': process.env.ANTHROPIC_API_KEY, 'content-type': 'application/json' };
  await ask('', {});
  await ask('v1/models', { headers: key });
  await ask('v1/files', { headers: key });
  await ask('v1/../admin', { headers: key });
  await ask('v1/messages', { method: 'POST', headers: { ...key, 'x-api-key': 'x'.repeat(43) }, body: '{}' });
  const other = { model: 'claude-opus-5-5', max_tokens: 1, messages: [{ role: 'user', content: 'x' }] };
  await ask('v1/messages', { method: 'POST', headers: key, body: JSON.stringify(other) });
  const tool = { ...other, model: 'claude-sonnet-5-5', tools: [{ type: 'web_fetch_20250910', name: 'web_fetch' }] };
  await ask('v1/messages', { method: 'POST', headers: key, body: JSON.stringify(tool) });
})();
"""


class Model(ThreadingHTTPServer):
    """Plays Bash commands as turns, then a last word that carries the key, and notes the keys it was shown."""

    daemon_threads = True

    def __init__(self, commands: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.commands = commands
        self.keys: set[str | None] = set()
        self.turn = 0


class Handler(BaseHTTPRequestHandler):
    server: Model

    def log_message(self, *_: object) -> None:
        return

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.keys.add(self.headers["x-api-key"])
        turn, self.server.turn = self.server.turn, self.server.turn + 1
        if turn < len(self.server.commands):
            given = json.dumps({"command": self.server.commands[turn]})
            block: dict[str, Any] = {"type": "tool_use", "id": f"toolu_{turn}", "name": "Bash", "input": {}}
            delta, stop = {"type": "input_json_delta", "partial_json": given}, "tool_use"
        else:
            # The worst model: it knows the key and says it, plain and in base64's neighbourhood.
            block, stop = {"type": "text", "text": ""}, "end_turn"
            delta = {"type": "text_delta", "text": f"The key is {KEY}."}
        usage = {"input_tokens": 10, "output_tokens": 10}
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": body["model"]}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**message, "stop_reason": None, "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": usage},
            {"type": "message_stop"},
        ]
        data = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def model() -> Iterator[Callable[[list[str]], Model]]:
    servers: list[Model] = []

    def start(commands: list[str]) -> Model:
        server = Model(commands)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask(cli: Cli, server: Model, source: Path, *words: object, **env: str) -> Ran:
    url = f"http://127.0.0.1:{server.server_address[1]}"
    options = ("--strategy", "direct", "--source", source, "--model-url", url, "--timeout", "90s")
    return cli("run", "x", *options, *words, env={"ANTHROPIC_API_KEY": KEY, **env})


def test_the_key_is_nowhere_and_nothing_but_the_gateway_answers(
    cli: Cli, place: Place, model: Callable[[list[str]], Model], greeter: Path, tmp_path: Path
) -> None:
    (greeter / "connect.cjs").write_text(CONNECT)
    state, ledger, patch = tmp_path / "state", tmp_path / "ledger.jsonl", tmp_path / "patch"
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0cfd-test-abstract")
        abstract.listen()
        port = listener.getsockname()[1]
        server = model([LOOK, f"node connect.cjs {port}", f"echo {KEY} > stolen.txt; echo {KEY}"])
        words = ("--state", state, "--ledger", ledger, "--patch", patch, "--output", "ndjson")
        ran = ask(cli, server, greeter, *words)
    result = json.loads(ran.out.splitlines()[-1])["result"]
    assert result["verdict"] == "succeeded", ran.out[-2000:]
    events = [json.loads(line) for line in ran.out.splitlines()]
    look, connect, _ = [event["text"] for event in events if event["type"] == "tool_result"]

    # The upstream was shown the key, so the run did hold it; the gateway put it in.
    assert server.keys == {KEY}
    # It is in nothing that leaves: masking, since the model itself said it and the agent wrote it into a file.
    everything = ran.out + ran.err + ledger.read_text() + patch.read_text()
    assert KEY not in everything
    assert "The key is ***." in everything
    assert "stolen.txt" in result["patch"]
    assert not [path for path in state.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    # And it was in nothing that the sandbox could read, before the model said it.
    files = look.partition("== files\n")[2].partition("== processes")[0].splitlines()
    assert [line for line in files if not line.startswith("SEEN ")] == []
    assert "ANTHROPIC_API_KEY=***" in look  # the run's own token, masked as well
    assert {line.split()[1] for line in look.splitlines() if line.startswith("SEEN")} <= place.own
    for sign in {"WROTE", "MOUNTED", "NEW USER NAMESPACE", "--model-url", "warden.py"} - place.may:
        assert sign not in look
    assert "1001\n" in look
    assert "CapEff:\t0000000000000000" in look
    assert "NoNewPrivs:\t1" in look
    assert look.rstrip().endswith("== network\nlo\n0")

    # The network: nobody answers but the gateway, and that only for what it is there for.
    assert "CONNECTED" not in connect
    assert "RESOLVED" not in connect
    assert "refused 127.0.0.1 ECONNREFUSED" in connect
    answers = [line.split()[-1] for line in connect.splitlines() if line.startswith("gateway")]
    assert answers == ["403"] * 7


@pytest.fixture
def without_bubblewrap() -> Cli:
    """The command line on a machine without bubblewrap: hidden from it in a mount namespace of its own."""
    hide = 'mount --bind /dev/null "$0" && exec "$@"'
    bwrap = shutil.which("bwrap", path="/usr/local/bin:/usr/bin:/bin") or ""

    def run(*words: object, env: dict[str, str]) -> Ran:
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", hide, bwrap, *command(*words)],
            env=environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="hiding bubblewrap needs root")


@only_root
def test_without_a_sandbox_a_real_key_is_refused(
    without_bubblewrap: Cli, model: Callable[[list[str]], Model], greeter: Path
) -> None:
    server = model([])
    ran = ask(without_bubblewrap, server, greeter, "--output", "json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "unsafe_run")
    assert "apt-get install bubblewrap" in ran.json["error"]["cure"]
    assert server.turn == 0

    allowed = ask(without_bubblewrap, server, greeter, "--output", "json", "--allow-unsandboxed")
    assert allowed.json["verdict"] == "succeeded"
    assert allowed.json["isolation"]["sandbox"] == "none"
    assert KEY not in allowed.out


@only_root
def test_without_a_sandbox_a_script_runs_and_says_so_once(without_bubblewrap: Cli, greeter: Path) -> None:
    words = ("x", "--strategy", "direct", "--source", greeter, "--model-script", GREETER / "french.yaml")
    ran = without_bubblewrap("run", *words, "--output", "json", env={})
    assert ran.json["verdict"] == "succeeded", ran.out[-1500:]
    assert [notice["code"] for notice in ran.json["notices"]].count("unsandboxed") == 1
    assert ran.json["isolation"]["network_cut"] is False


@pytest.fixture
def powerless() -> Cli:
    """The command line as a user like any other: root without a single capability, which no sandbox starts for."""

    def run(*words: object, env: dict[str, str]) -> Ran:
        done = subprocess.run(
            ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", *command(*words)],
            env=environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


# The key itself is masked in what comes back, so its places are counted; the brackets keep grep from finding itself.
FIND_KEY = r"""
tail -f /dev/null & decoy=$!
echo "readable: $(cat /proc/$decoy/environ 2>/dev/null | wc -c)"
found=0
for f in /proc/[0-9]*/environ; do
  if cat $f 2>/dev/null | tr '\0' '\n' | grep -q "Zq[7]Zq[7]"; then found=$((found + 1)); fi; done
echo "environ: $found"
python3 - <<'PY' 2>&1 | tail -1
import os, re
pids = [p for p in os.listdir('/proc') if p.isdigit()]
cli = [p for p in pids if b'claude_flow_dagger\0run' in open(f'/proc/{p}/cmdline', 'rb').read()]
refused = 0
for p in cli:
    for name in ('environ', 'mem', 'maps', 'fd/0'):
        try:
            open(f'/proc/{p}/{name}', 'rb').read(1)
        except PermissionError:
            refused += 1
print('all refused' if cli and refused == 4 * len(cli) else f'{refused} refused of {len(cli)}')
PY
kill $decoy
"""


@only_root
def test_even_beside_the_command_line_its_key_cannot_be_read(
    powerless: Cli, model: Callable[[list[str]], Model], greeter: Path
) -> None:
    """Watches `harden`: an agent without any sandbox, of the same user, looks into the process that holds the key."""
    server = model([FIND_KEY])
    ran = ask(powerless, server, greeter, "--allow-unsandboxed", "--output", "ndjson")
    events = [json.loads(line) for line in ran.out.splitlines()]
    assert events[-1]["result"]["isolation"]["sandbox"] == "none", ran.out[-1500:]
    assert server.keys == {KEY}
    said = next(event["text"] for event in events if event["type"] == "tool_result")
    # Processes of this user can be read, only that one cannot.
    assert re.search(r"readable: [1-9]", said), said
    assert "environ: 0\n" in said
    assert "all refused" in said
