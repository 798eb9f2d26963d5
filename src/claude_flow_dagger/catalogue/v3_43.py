"""What running claude-flow 3.43.0 taught, command by command (Debian 12, Node 20, no network, no key)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from claude_flow_dagger.catalogue import checks
from claude_flow_dagger.catalogue.model import Answers, ExitTrust, Parsed, Quirk

_HIVE: Final = "hive-mind init"

_MISSING_IS_FINE: Final = "with an unknown id its text claims success and its exit status is 0; its JSON tells"
_FINDINGS: Final = Quirk(
    trust=ExitTrust.NONZERO_IS_FINDING,
    notes=("exit status 1 also means that it found something; reports go to .claude/security-scans/",),
)


def _store(parsed: Parsed) -> tuple[tuple[str, ...], ...]:
    """`memory init` of the store that is meant: without it most end with 1, `Database not found`."""
    path = parsed.options.get("path")
    return (("memory", "init") if path is None else ("memory", "init", f"--path={path}"),)


def _bare(option: str) -> Quirk:
    """Upstream turns `--value 007` into the number 7 and then fails; a bare argument stays text (`memory.js:128`)."""

    def rewrite(parsed: Parsed) -> Parsed:
        value = parsed.options.get(option)
        if value is None or parsed.positional:
            return parsed
        rest = {name: each for name, each in parsed.options.items() if name != option}
        return Parsed(path=parsed.path, options=rest, positional=(value,), help=parsed.help)

    return Quirk(rewrite=rewrite, prepare=_store)


def _memory(base: Quirk | None = None, **changes: object) -> Quirk:
    fields = {name: getattr(base, name) for name in Quirk.__dataclass_fields__} if base else {"prepare": _store}
    return Quirk(**{**fields, **changes})


def _watch(parsed: Parsed) -> str | None:
    for name in ("watch", "follow"):
        if name in parsed.options and parsed.options[name] != "false":
            return f"with --{name} it does not end: leave --{name} out and ask again when you need to"
    return None


def _no_key(parsed: Parsed) -> str | None:
    given = parsed.value("key") or next(iter(parsed.positional), None)
    return None if given else "it needs a key: add --key KEY"


def _no_value(parsed: Parsed) -> str | None:
    if not parsed.options.get("key"):
        return "it needs a key: add --key KEY"
    given = parsed.value("value") or next(iter(parsed.positional), None)
    return None if given else "it needs a value: add --value VALUE"


def _no_id(what: str) -> Quirk:
    def refuse(parsed: Parsed) -> str | None:
        return None if parsed.positional or parsed.options.get("id") else f"it needs the id of a {what} as its argument"

    return Quirk(trust=ExitTrust.ZERO_LIES, judge_by_json=True, refuse=refuse, notes=(_MISSING_IS_FINE,))


def _claude(parsed: Parsed) -> bool:
    return "claude" in parsed.options and parsed.options["claude"] != "false"


def _headless(parsed: Parsed) -> bool:
    return "headless" in parsed.options and parsed.options["headless"] != "false"


_SERVER: Final = "it becomes an MCP server and runs until its input ends: use an agent job, which starts it itself"
_DAEMON: Final = (
    "it starts background workers that outlive it: nothing of a run may outlive it, so there is no daemon here"
)

QUIRKS: Final[Mapping[str, Quirk]] = {
    # Writes $HOME/.claude/CLAUDE.md too; a second time it ends with 1 unless --force.
    "init": Quirk(checks=checks.written, notes=("ends with 1 when the workspace is initialised already",)),
    "start": Quirk(notes=("writes a state file; no process is started", "ends with 1 before init")),
    "status": Quirk(long_running=_watch, notes=("ends with 1 before init",)),
    # The MCP entry in bin/cli.js takes `mcp` and `mcp start` before the parser when there is no terminal.
    "mcp": Quirk(long_running=_SERVER),
    "mcp start": Quirk(long_running=_SERVER),
    "mcp restart": Quirk(long_running=_SERVER),
    "mcp status": Quirk(notes=("says `running: true` without any server",)),
    "mcp health": Quirk(trust=ExitTrust.NONZERO_IS_FINDING, notes=("1 whenever no server runs",)),
    "mcp exec": Quirk(
        trust=ExitTrust.ZERO_LIES, judge_by_json=True, notes=("exit status 0 with `success: false` in its result",)
    ),
    "mcp logs": Quirk(long_running=_watch),
    "daemon start": Quirk(long_running=_DAEMON),
    "daemon trigger": Quirk(needs_model=_headless, notes=("--headless starts Claude Code",)),
    "daemon install-supervisor": Quirk(long_running="it installs a service of the host: do that outside of runs"),
    "process daemon": Quirk(notes=("writes a pid file only",)),
    "process monitor": Quirk(
        long_running=_watch, notes=("its own default format fails its own check: json is asked for",)
    ),
    "process logs": Quirk(long_running=_watch),
    "deployment logs": Quirk(long_running=_watch),
    "agent logs": Quirk(long_running=_watch),
    "proxy start": Quirk(long_running="it starts a server: the gateway of a run is the only proxy that it needs"),
    "proxy supervise": Quirk(long_running="it does not end: the gateway of a run is the only proxy that it needs"),
    "progress watch": Quirk(long_running="it does not end (seen: 25 s and more): use `progress check`"),
    # `memory init` a second time keeps what is there and ends with 0 (seen); --force would wipe it.
    "memory init": Quirk(checks=checks.initialised),
    "memory store": _memory(
        _bare("value"),
        refuse=_no_value,
        checks=checks.stored,
        trust=ExitTrust.ZERO_LIES,
        notes=("without native sqlite and CLAUDE_FLOW_DISABLE_BRIDGE=1 it ends with 0 and the value is gone",),
    ),
    "memory retrieve": _memory(_bare("key"), refuse=_no_key, answers=Answers.CLEAN, notes=("a miss is 1",)),
    "memory delete": _memory(_bare("key"), refuse=_no_key, checks=checks.deleted, notes=("a miss is 1",)),
    "memory search": _memory(),
    "memory list": _memory(),
    "memory stats": _memory(),
    "memory purge": _memory(notes=("ends with 1 without --force",)),
    "memory cleanup": _memory(),
    "memory compress": _memory(),
    "memory export": _memory(),
    "memory import": _memory(notes=("says `Imported from undefined` before it ends with 1 on a missing file",)),
    "memory backup": _memory(),
    "memory distill run": _memory(),
    "memory distill status": _memory(),
    "agent spawn": Quirk(
        judge_by_json=True,
        answers=Answers.AFTER_LOG,
        checks=checks.listed(("agent", "list", "--format=json"), "agents", "agentId"),
        notes=("registers an agent; nothing runs",),
    ),
    "agent status": _no_id("agent"),
    "agent stop": _no_id("agent"),
    "agent wasm-prompt": Quirk(needs_model=True),
    "task create": Quirk(
        judge_by_json=True,
        answers=Answers.AFTER_LOG,
        checks=checks.listed(("task", "list", "--limit=1000", "--format=json"), "tasks", "taskId"),
        notes=("registers a task; nothing runs",),
    ),
    "task list": Quirk(notes=("--all lists nothing: it asks for tasks whose status is `all`",)),
    "task status": _no_id("task"),
    "task cancel": _no_id("task"),
    "task retry": _no_id("task"),
    "session save": Quirk(
        judge_by_json=True,
        checks=checks.listed(("session", "list", "--limit=1000", "--format=json"), "sessions", "sessionId"),
    ),
    "session delete": _no_id("session"),
    "session restore": Quirk(notes=("a missing session is 1, after `Session restored`",)),
    "swarm init": Quirk(judge_by_json=True, checks=checks.swarm_is_there),
    "swarm start": Quirk(notes=("prints a plan and writes .swarm/state.json; no agent and no model run",)),
    "hive-mind init": Quirk(judge_by_json=True, checks=checks.hive_is_up),
    "hive-mind spawn": Quirk(
        needs_model=_claude,
        trust=ExitTrust.ZERO_LIES,
        notes=(f"ends with 1 before {_HIVE}", "--claude starts Claude Code; without a `claude` in PATH it ends with 0"),
    ),
    "hive-mind task": Quirk(notes=("queues a task; nothing runs",)),
    "config set": Quirk(
        checks=checks.configured,
        notes=(
            "prints the value and keeps it in claude-flow.config.json, readable by everybody: no place for secrets",
        ),
    ),
    "security scan": _FINDINGS,
    "security audit": _FINDINGS,
    "security secrets": _FINDINGS,
    "security threats": _FINDINGS,
    "security defend": _FINDINGS,
    "security cve": Quirk(trust=ExitTrust.NONZERO_IS_FINDING, notes=("says `none known` when it could not ask",)),
    "doctor": Quirk(
        trust=ExitTrust.NONZERO_IS_FINDING, notes=("1 in every run seen: read its report", "writes $HOME/.npm")
    ),
    "verify": Quirk(trust=ExitTrust.NONZERO_IS_FINDING),
    "deployment deploy": Quirk(trust=ExitTrust.ZERO_LIES, notes=("records an entry; nothing is deployed",)),
    "route": Quirk(also_arguments=True),
    "update all": Quirk(notes=("runs npm install on the pinned runtime: it is read-only in a run",)),
    "gaia-bench run": Quirk(needs_model=True),
}
