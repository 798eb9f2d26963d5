"""What running claude-flow 2.7.47 taught, command by command (Debian 12, Node 20, better-sqlite3 compiled)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from claude_flow_dagger.catalogue.model import Check, CheckReply, ExitTrust, Parsed, Quirk, Reply

_ENDS_ZERO: Final = "2.7 catches its own errors and ends with 0"
_STAYS: Final = "it keeps running (seen): nothing of a run may outlive it; use an agent job, or line 3.43"
_EVENT: Final = "its exit status is 0 also when the model refused: require a `result` event with is_error false"


def _kept(parsed: Parsed) -> tuple[Check, ...]:
    """`memory store KEY VALUE`: a query of another process shows the value's beginning."""
    if len(parsed.positional) < 2:
        return ()
    key = parsed.positional[0]
    namespace = parsed.value("namespace", "ns")
    where: tuple[str, ...] = ("--namespace", namespace) if namespace else ()
    # Asked for in the same mode as it was stored: each has a store of its own (`simple-commands/memory.js:469-480`).
    where += tuple(f"--{mode}" for mode in ("basic", "reasoningbank", "rb", "auto") if mode in parsed.options)

    def holds(_: Reply, check: CheckReply) -> str | None:
        there = check.exit_code == 0 and key in check.reply.text and "No results" not in check.reply.text
        return None if there else f"memory {key!r} cannot be read back: it was not kept"

    return (Check(argv=("memory", "query", key, *where), holds=holds),)


def _key_and_value(parsed: Parsed) -> str | None:
    return None if len(parsed.positional) >= 2 else "it needs a key and a value: memory store KEY VALUE"


def _daemon(parsed: Parsed) -> str | None:
    return None if parsed.help else _STAYS


_SLOW: Final = Quirk(notes=("did not end within 15 s without a network",))
_AGENT: Final = Quirk(needs_model=True, trust=ExitTrust.ZERO_LIES, notes=(_EVENT,))
_SERVER: Final = Quirk(long_running=_daemon)

QUIRKS: Final[Mapping[str, Quirk]] = {
    "swarm": Quirk(
        needs_model=True,
        trust=ExitTrust.ZERO_LIES,
        also_arguments=True,
        notes=(
            "`swarm init` is taken as an objective",
            "--output-format json makes no call at all and ends with 0",
            _EVENT,
        ),
    ),
    "start": _SERVER,
    "start-ui": _SERVER,
    "hive-mind spawn": Quirk(needs_model=True, long_running=_daemon),
    "hive-mind wizard": _SERVER,
    "mcp start": _SERVER,
    "monitor": _SERVER,
    "proxy start": _SERVER,
    "proxy restart": _SERVER,
    "analysis claude-monitor": _SERVER,
    "agent agents": _SLOW,
    "agent config": _SLOW,
    "agent conflicts": _SLOW,
    "agent create": _SLOW,
    "coordination swarm-init": _SLOW,
    "train-pipeline": _SLOW,
    "train-pipeline run": _SLOW,
    "training model-update": _SLOW,
    "training neural-train": _SLOW,
    "training pattern-learn": _SLOW,
    "verify-train train": _SLOW,
    "pair": _SERVER,
    "sparc run": _AGENT,
    "sparc tdd": _AGENT,
    "github": Quirk(needs_model=True, trust=ExitTrust.ZERO_LIES, also_arguments=True, notes=(_EVENT,)),
    "automation mle-star": _AGENT,
    "automation run-workflow": _AGENT,
    "stream-chain run": _AGENT,
    "stream-chain demo": _AGENT,
    "stream-chain pipeline": _AGENT,
    "agent run": _AGENT,
    "memory store": Quirk(refuse=_key_and_value, checks=_kept, trust=ExitTrust.ZERO_LIES, notes=(_ENDS_ZERO,)),
}
EXTRA_SUBCOMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    # Compared in lists, not in the handler's switch (`simple-commands/memory.js:36-47`).
    "memory": ("benchmark", "consolidate", "demo", "detect", "init", "migrate", "mode", "status", "test"),
}
