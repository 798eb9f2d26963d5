"""Reads what a command answered and says whether it did its work. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from claude_flow_dagger.catalogue.answers import json_in
from claude_flow_dagger.catalogue.model import (
    Answers,
    CheckReply,
    ExitTrust,
    Finding,
    FindingCode,
    Invocation,
    Line,
    Reply,
)

_HELP_V3: Final = re.compile(r"^(?:Usage: (?:claude-flow|ruflo) |SUBCOMMANDS:|USAGE:)", re.MULTILINE)
_HELP_V2: Final = re.compile(r"^(?:USAGE:|Usage: )", re.MULTILINE)
_ERROR_V3: Final = re.compile(r"^\[ERROR\] ?(.*)", re.MULTILINE)
_ERROR_V2: Final = re.compile(r"^(?:❌ ?(?:Error: )?|Error: )(.+)", re.MULTILINE)
_COLOURS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def read_answer(invocation: Invocation, stdout: str, stderr: str, exit_code: int) -> Reply:
    """A command's answer out of what it printed.

    Args:
        invocation: as `check` made it.
        stdout: its standard output; log lines before the JSON are cut off.
        stderr: its standard error.
        exit_code: not looked at: JSON is read from failures too, since some carry their reason in it.

    Returns:
        The JSON, if it was asked for and there is some, and the texts without colours.
    """
    del exit_code
    text = _COLOURS.sub("", stdout)
    asked = invocation.wants_json or invocation.command.quirk.judge_by_json
    return Reply(data=json_in(text) if asked else None, text=text, errors=_COLOURS.sub("", stderr))


def believe(invocation: Invocation, exit_code: int, reply: Reply, checks: Sequence[CheckReply] = ()) -> Finding:
    """Whether a command did what it says.

    Args:
        invocation: as `check` made it.
        exit_code: the command's; 128+N after signal N.
        reply: of `read_answer`.
        checks: one for each of the invocation's checks that ran, in their order; fewer mean that the rest did not run.

    Returns:
        What is believed and why. Never raises.
    """
    if exit_code != 0:
        return _ended_badly(invocation, exit_code, reply)
    if invocation.parsed.help:
        return Finding(done=True, code=FindingCode.DONE, reason="printed its help")
    complaint = _complaint(invocation, reply)
    if complaint is not None:
        return Finding(done=False, code=FindingCode.SAID_ERROR, reason=complaint)
    v3 = invocation.line is Line.V3_43
    if (
        reply.data is None
        and invocation.command.answers is Answers.TEXT
        and (_HELP_V3 if v3 else _HELP_V2).search(reply.text)
    ):
        return Finding(done=False, code=FindingCode.PRINTED_HELP, reason="it printed its help and did nothing")
    if invocation.wants_json and invocation.answers is not Answers.TEXT and reply.data is None:
        return Finding(done=False, code=FindingCode.NO_JSON, reason="it was asked for JSON and gave none")
    for check, answer in zip(invocation.checks, checks, strict=False):
        reason = check.holds(reply, answer)
        if reason is not None:
            return Finding(done=False, code=FindingCode.CHECK_FAILED, reason=reason)
    if len(checks) < len(invocation.checks):
        return Finding(done=False, code=FindingCode.CHECK_FAILED, reason="its work was not checked")
    return Finding(done=True, code=FindingCode.DONE, reason="verified" if checks else "exit status 0")


def _ended_badly(invocation: Invocation, exit_code: int, reply: Reply) -> Finding:
    said = _said(invocation.line, reply)
    finding = invocation.exit_trust is ExitTrust.NONZERO_IS_FINDING
    if finding and exit_code == 1 and not _ERROR_V3.search(reply.errors) and reply.text.strip():
        return Finding(done=True, code=FindingCode.FINDINGS, reason="it ran, and reports findings by exit status 1")
    return Finding(done=False, code=FindingCode.EXIT_STATUS, reason=said or f"exit status {exit_code}")


def _said(line: Line, reply: Reply) -> str | None:
    pattern = _ERROR_V3 if line is Line.V3_43 else _ERROR_V2
    # 3.43 prints its errors on standard error, 2.7 on standard output too.
    found = pattern.search(reply.errors if line is Line.V3_43 else reply.text + "\n" + reply.errors)
    return found.group(1).strip() or "an error without a text" if found else None


def _complaint(invocation: Invocation, reply: Reply) -> str | None:
    """An error that came with exit status 0, in the words of the command.

    Any Node error with a `code` ends 3.43 with 0: its handler exits with the error's own, undefined, exit status
    (`dist/src/index.js`, `handleError`; seen with `memory store --value 007`).
    """
    if (said := _said(invocation.line, reply)) is not None:
        return said
    data = reply.data
    if isinstance(data, dict) and invocation.path == ("mcp", "exec") and isinstance(data.get("result"), dict):
        data = data["result"]
    if not isinstance(data, dict):
        return None
    error = data.get("error")
    failed = data.get("success") is False or data.get("deleted") is False or data.get("status") == "not_found"
    if failed or (error and invocation.exit_trust is ExitTrust.ZERO_LIES):
        return str(error) if error else "its answer says that it did not succeed"
    return None
