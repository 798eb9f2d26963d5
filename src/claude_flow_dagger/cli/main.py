"""Starts the command line, and turns every error into one message and one exit status."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from typer.exceptions import Abort, Exit, TyperException

from claude_flow_dagger.cli.signals import interrupt_on_signal
from claude_flow_dagger.errors import ClaudeFlowDaggerError, InfrastructureError, OutOfSpace


def main() -> NoReturn:
    """The console script."""
    interrupt_on_signal()
    sys.exit(run_cli(sys.argv[1:]))


def run_cli(argv: Sequence[str]) -> int:
    """Run one command line.

    Args:
        argv: without the program's name.

    Returns:
        The exit status: the verdict's for runs, else 0, or the error's.
    """
    from claude_flow_dagger.cli.app import app
    from claude_flow_dagger.cli.root import Interrupted, ReaderGone

    as_json = wants_json(argv)
    try:
        code = app(list(argv), standalone_mode=False, prog_name="claude-flow-dagger")
    except ClaudeFlowDaggerError as error:
        return _report(error, as_json=as_json)
    except (Abort, Interrupted):
        return _report_cancelled(as_json=as_json)
    except Exit as ended:
        return ended.exit_code
    except TyperException as error:
        return _report_usage(error, as_json=as_json)
    except ReaderGone:
        # The reader of our output has gone, such as `head`: nobody is left to tell. What is still in the buffer must
        # not be tried again at the interpreter's end, which would change the exit status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        return _report(_from_os(error), as_json=as_json)
    return code if isinstance(code, int) else 0


def _from_os(error: OSError) -> InfrastructureError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutOfSpace(f"{error.filename or 'a disk'}: no space left", cure="free some space and run it again")
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return InfrastructureError(what, cure="check the path, its owner and its mode")


def _report_cancelled(*, as_json: bool) -> int:
    message = "stopped by a signal before there was a result"
    if as_json:
        print(json.dumps({"error": {"code": "cancelled", "message": message, "cure": None}}))
    else:
        print(f"error: {message}", file=sys.stderr)
    return 130


def wants_json(argv: Sequence[str]) -> bool:
    """Whether standard output is promised to JSON; looked for by hand, since a wrong command line cannot be parsed."""
    words = list(argv[: argv.index("--")] if "--" in argv else argv)
    pairs = zip(words, [*words[1:], ""], strict=True)
    return any(
        word in ("--output=json", "--output=ndjson") or (word in ("--output", "-o") and value in ("json", "ndjson"))
        for word, value in pairs
    )


def _report(error: ClaudeFlowDaggerError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": error.as_dict()}))
    else:
        print(f"error: {error.message}", file=sys.stderr)
        if error.cure:
            print(f"  cure: {error.cure}", file=sys.stderr)
    return error.exit_code


def _report_usage(error: TyperException, *, as_json: bool) -> int:
    if as_json:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        cure = "see claude-flow-dagger --help"
        print(json.dumps({"error": {"code": "usage", "message": message, "cure": cure}}))
    elif hasattr(error, "show"):
        error.show(file=sys.stderr)
    else:
        print(f"error: {error}", file=sys.stderr)
    return int(getattr(error, "exit_code", 2))
