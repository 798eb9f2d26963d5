"""The real claude-flow 3.43.0 through prepare, run and checks: what is believed is what happened."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from claude_flow_dagger.commands import CheckReply, Finding, FindingCode, Line, Reply, believe, check, read_answer

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Flow:
    """claude-flow in a workspace of its own."""

    node: str
    cli: str
    place: Path

    def run(self, argv: tuple[str, ...]) -> tuple[int, str, str]:
        """One claude-flow process, its group ended with it."""
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self.place / "home"), "TMPDIR": str(self.place / "tmp")}
        env |= {"CI": "true", "RUFLO_DAEMON_AUTOSTART": "0", "CLAUDE_FLOW_DISABLE_BRIDGE": "1", "RUFLO_FUNNEL": "0"}
        env |= {"CLAUDE_FLOW_AUTO_UPDATE": "false", "LANG": "C.UTF-8"}
        process = subprocess.Popen(
            [self.node, "--max-old-space-size=1000", self.cli, *argv],
            cwd=self.place / "work",
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, err = process.communicate(timeout=120)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return process.returncode, out, err

    def do(self, *argv: str) -> tuple[Finding, Reply]:
        """A command as the product runs it: checked, prepared, run, verified."""
        invocation = check(argv, Line.V3_43)
        for before in invocation.prepare:
            code, out, err = self.run(before)
            assert code == 0, out + err
        code, out, err = self.run(invocation.argv_to_run)
        reply = read_answer(invocation, out, err, code)
        seen = []
        for each in invocation.checks:
            check_code, *printed = self.run(each.argv)
            answer = read_answer(check(each.argv, Line.V3_43), printed[0], printed[1], check_code)
            seen.append(CheckReply(exit_code=check_code, reply=answer))
        return believe(invocation, code, reply, seen), reply


@pytest.fixture
def flow(runtime: Any, tmp_path: Path) -> Iterator[Flow]:
    for name in ("home", "tmp", "work"):
        (tmp_path / name).mkdir()
    return Flow(node=str(runtime.node), cli=str(runtime.claude_flow), place=tmp_path)


@pytest.mark.parametrize("value", ["hello world", "007", "true", "-dash", "línea\nzwei \"quoted\" 'too'", "1e3"])
def test_a_value_is_kept_as_it_was_given(flow: Flow, value: str) -> None:
    finding, _ = flow.do("memory", "store", "--key", "k", f"--value={value}", "--namespace", "n")
    assert finding == Finding(done=True, code=FindingCode.DONE, reason="verified")
    _, reply = flow.do("memory", "retrieve", "-k", "k", "--namespace", "n", "--format", "json")
    assert reply.data["content"] == value


def test_memory_is_searched_listed_and_deleted(flow: Flow) -> None:
    assert flow.do("memory", "store", "-k", "greeting", "--value", "bonjour le monde")[0].done
    finding, reply = flow.do("memory", "search", "-q", "bonjour le monde", "--threshold=0.1", "--format", "json")
    assert finding.done
    assert [each["key"] for each in reply.data["results"]] == ["greeting"]
    assert [each["key"] for each in flow.do("memory", "list", "--format", "json")[1].data] == ["greeting"]
    assert flow.do("memory", "delete", "-k", "greeting", "--force")[0].done
    assert flow.do("memory", "list", "--format", "json")[1].data == []
    assert flow.do("memory", "retrieve", "-k", "greeting")[0].code is FindingCode.EXIT_STATUS


def test_sessions_are_saved_and_a_missing_one_is_not_deleted(flow: Flow) -> None:
    finding, reply = flow.do("session", "save", "-n", "one", "--format", "json")
    assert finding.done
    assert flow.do("session", "delete", "nope")[0].code is FindingCode.SAID_ERROR
    assert flow.do("session", "delete", reply.data["sessionId"])[0].done


def test_agents_are_registered_and_an_unknown_one_is_a_failure(flow: Flow) -> None:
    finding, reply = flow.do("agent", "spawn", "-t", "coder", "-n", "c1", "--format", "json")
    assert finding.done
    assert flow.do("agent", "status", reply.data["agentId"])[0].done
    assert flow.do("agent", "status", "nope")[0].code is FindingCode.SAID_ERROR
    assert flow.do("agent", "stop", "nope")[0].code is FindingCode.SAID_ERROR


def test_tasks_are_registered_and_an_unknown_one_is_a_failure(flow: Flow) -> None:
    finding, reply = flow.do("task", "create", "-t", "implementation", "-d", "greet", "--format", "json")
    assert finding.done
    assert flow.do("task", "status", reply.data["taskId"])[0].done
    assert flow.do("task", "cancel", "nope")[0].code is FindingCode.SAID_ERROR


def test_a_setting_is_read_back(flow: Flow) -> None:
    finding, reply = flow.do("config", "set", "--key", "a.b", "--value", "sk-secret")
    assert finding.done
    assert "sk-secret" in reply.text, "upstream prints what it sets: whoever shows this must mask it"


def test_a_hive_and_a_swarm_come_up(flow: Flow) -> None:
    assert flow.do("hive-mind", "init", "-t", "hierarchical-mesh")[0].done
    finding, reply = flow.do("hive-mind", "status", "--format", "json")
    assert finding.done
    assert reply.data["topology"] == "hierarchical-mesh"
    assert flow.do("swarm", "init", "--topology", "mesh")[0].done


def test_init_leaves_an_initialised_workspace(flow: Flow) -> None:
    assert flow.do("init", "--minimal")[0].done
    assert (flow.place / "work" / ".claude-flow" / "config.yaml").is_file()
    assert flow.do("init", "--minimal")[0].code is FindingCode.EXIT_STATUS


def test_a_failed_tool_is_a_failure(flow: Flow) -> None:
    finding, _ = flow.do("mcp", "exec", "-t", "agent_status", "-p", '{"agentId": "zz"}')
    assert finding.code is FindingCode.SAID_ERROR


def test_doctor_reports_findings(flow: Flow) -> None:
    finding, reply = flow.do("doctor")
    assert finding.code in (FindingCode.FINDINGS, FindingCode.DONE)
    assert "Node" in reply.text


def test_what_is_refused_here_passes_upstream(flow: Flow) -> None:
    code, out, _ = flow.run(("memory", "frobnicate"))
    assert (code, "Usage: claude-flow memory" in out) == (0, True)
    code, _, err = flow.run(("memory", "store", "-k", "k", "--value", "007"))
    assert code == 0, "an internal error still ends with 0: if this fails, upstream was repaired"
    assert "[ERROR]" in err
