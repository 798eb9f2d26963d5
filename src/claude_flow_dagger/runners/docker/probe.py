"""What a daemon's sandboxes really hold, seen from inside one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from claude_flow_dagger.errors import SandboxError, UnsafeRun
from claude_flow_dagger.runners.bubblewrap import UID
from claude_flow_dagger.runners.docker.problems import NotHere

PROBE: Final = "probe"
"""A probe's id instead of a run's: `probe-PID-RANDOM`, PID being of the process that waits for it."""
PROBE_S: Final = 60.0
PROBE_MEMORY: Final = 256 * 1024**2

SCRIPT: Final = """
const fs = require("fs"), net = require("net");
const read = (file) => { try { return fs.readFileSync(file, "utf8"); } catch { return ""; } };
const status = read("/proc/self/status");
const field = (name) => (status.match(new RegExp("^" + name + ":\\\\s*(\\\\S+)", "m")) ?? [])[1] ?? "";
const writable = (directory) => {
  try { fs.writeFileSync(directory + "/.cfd-probe", ""); fs.unlinkSync(directory + "/.cfd-probe"); return true; }
  catch { return false; }
};
const say = (socket) => {
  console.log(JSON.stringify({
    uid: process.getuid(), capabilities: field("CapEff"), privileges: field("NoNewPrivs"), seccomp: field("Seccomp"),
    networks: read("/proc/net/dev").split("\\n").slice(2).map((l) => l.split(":")[0].trim()).filter(Boolean),
    root: writable("/") || writable("/usr"), socket,
  }));
  process.exit(0);
};
const probe = net.connect({ path: process.argv.at(-1) });
probe.on("connect", () => say(""));
probe.on("error", (error) => say(error.code ?? String(error)));
setTimeout(() => say("it does not answer"), 3000);
"""


@dataclass(frozen=True, kw_only=True)
class Held:
    """What holds a sandbox.

    Args:
        network_cut: nothing but loopback is there.
        detail: what is missing that a run can do without.
    """

    network_cut: bool
    detail: str


def judge_probe(said: str, address: str) -> Held:
    """The probe's answer, once everything that a run depends on is there. Pure.

    Args:
        said: a line of JSON.
        address: the daemon's, for messages.

    Raises:
        SandboxError: it said nothing.
        NotHere: a socket of this machine cannot be reached from inside.
        UnsafeRun: a fence is missing.
    """
    try:
        seen: Mapping[str, Any] = json.loads(said)
    except ValueError:
        raise SandboxError(f"{address}: a container started there says nothing of use: {said[:200]!r}") from None
    if seen["socket"]:
        raise NotHere(f"{address}: a container there cannot reach a socket of this machine ({seen['socket']})")
    fences = (
        (seen["uid"] == UID, f"runs as user {seen['uid']} instead of {UID}"),
        (not str(seen["capabilities"]).strip("0"), f"has capabilities ({seen['capabilities']})"),
        (str(seen["privileges"]) in ("1", ""), "may gain privileges"),
        (not seen["root"], "can write to its root"),
        (set(seen["networks"]) <= {"lo"}, f"has a network ({', '.join(seen['networks'])})"),
    )
    missing = [what for held, what in fences if not held]
    if missing:
        raise UnsafeRun(
            f"{address}: a container there {'; '.join(missing)}",
            cure="use Docker 20.10 or newer, Podman 4 or newer, or another --runtime",
        )
    detail = "" if str(seen["seccomp"]) != "0" else "the daemon filters no system calls (seccomp is off)"
    return Held(network_cut=True, detail=detail)


def missing_limits(info: Mapping[str, Any]) -> str:
    """The limits that a daemon says it cannot keep, in words; empty when it keeps them all. Pure.

    Args:
        info: what the daemon says of itself. Rootless ones without delegated control groups lack some.
    """
    limits = (("MemoryLimit", "memory"), ("PidsLimit", "processes"), ("CpuCfsQuota", "processors"))
    lacking = [what for key, what in limits if info.get(key) is False]
    return f"the daemon cannot limit {', '.join(lacking)}" if lacking else ""
