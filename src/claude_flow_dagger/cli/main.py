"""Starts the command line, and turns every error into one message and one exit status."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Sequence
from typing import NoReturn

from typer.exceptions import Abort, Exit, TyperException

from claude_flow_dagger.cli.signals import interrupt_on_signal
from claude_flow_dagger.errors import ClaudeFlowDaggerError, OutOfSpace


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

    as_json = wants_json(argv)
    try:
        code = app(list(argv), standalone_mode=False, prog_name="claude-flow-dagger")
    except ClaudeFlowDaggerError as error:
        return _report(error, as_json=as_json)
    except Abort:
        return 130
    except Exit as ended:
        return ended.exit_code
    except TyperException as error:
        return _report_usage(error, as_json=as_json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output has gone, such as `head`: nobody is left to tell.
        sys.stderr.close()
        return 141
    except OSError as error:
        if error.errno == errno.ENOSPC:
            full = OutOfSpace(f"{error.filename or 'a disk'}: no space left", cure="free some space and run it again")
            return _report(full, as_json=as_json)
        raise
    return code if isinstance(code, int) else 0


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
