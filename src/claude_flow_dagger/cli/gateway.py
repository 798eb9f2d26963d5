"""`gateway`: the one holder of the key, on its own, for sandboxes that this program does not start itself."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from claude_flow_dagger.cli import options as o
from claude_flow_dagger.cli.harden import harden
from claude_flow_dagger.cli.model import choose_model
from claude_flow_dagger.cli.signals import cancel_on_signal
from claude_flow_dagger.config import take_settings
from claude_flow_dagger.errors import InvalidJob, MissingKey
from claude_flow_dagger.execution import ModelSource
from claude_flow_dagger.gateway.budget import Budget
from claude_flow_dagger.gateway.server import Gateway, TcpAddress, serve
from claude_flow_dagger.gateway.wire import RunToken
from claude_flow_dagger.job import parse_duration
from claude_flow_dagger.result import Ledger


def gateway(
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT, or the path of a unix socket in a private directory.")
    ] = "127.0.0.1:0",
    model_script: o.ModelScript = None,
    model_url: o.ModelUrl = None,
    model: Annotated[list[str] | None, typer.Option("--model", help="Allow only this model. Repeatable.")] = None,
    budget_usd: o.BudgetUsd = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="Refuse after so many tokens.", min=1)] = None,
    requests: Annotated[int | None, typer.Option("--requests", help="Refuse after so many requests.", min=1)] = None,
    timeout: o.Timeout = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="Read the sandbox's token from here, instead of making one.")
    ] = None,
    ledger: o.LedgerFile = None,
) -> None:
    """Serve the Messages API to a sandbox: its token in, your key out, under a budget.

    Prints one JSON line with the address and the token once it listens, and one with the sums at the end (Ctrl-C).
    Claude Code takes them as ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY.

        claude-flow-dagger gateway --budget-usd 2 --ledger ledger.jsonl
    """
    settings = take_settings()
    if settings.secrets():
        harden()
    source = choose_model(settings, model_script, model_url)
    if source is None:
        raise MissingKey("the gateway has no key to hold", cure="set ANTHROPIC_API_KEY, or give --model-script FILE")
    budget = Budget(
        usd=parse_usd(budget_usd),
        tokens=tokens,
        requests=requests,
        deadline=None if timeout is None else time.monotonic() + parse_timeout(timeout),
    )
    token = _read_token(token_file) if token_file is not None else RunToken.generate()
    sums = asyncio.run(_serve(source, parse_listen(listen), budget, token, frozenset(model or ()) or None, ledger))
    print(json.dumps({"ledger": sums.model_dump(mode="json")}), flush=True)


async def _serve(
    source: ModelSource,
    listen: Path | TcpAddress,
    budget: Budget,
    token: RunToken,
    models: frozenset[str] | None,
    ledger: Path | None,
) -> Ledger:
    def on_ready(ready: Gateway) -> None:
        address = ready.address.url if isinstance(ready.address, TcpAddress) else str(ready.address)
        print(json.dumps({"address": address, "token": token.value}), flush=True)
        print("the gateway listens; Ctrl-C ends it", file=sys.stderr)

    stop = asyncio.Event()
    with cancel_on_signal(stop):
        return await serve(
            upstream=source.upstream,
            listen=listen,
            budget=budget,
            stop=stop,
            on_ready=on_ready,
            token=token,
            models=models,
            ledger_path=ledger,
        )


def parse_listen(text: str) -> Path | TcpAddress:
    """`HOST:PORT` (an IPv6 host in brackets) or a path.

    Raises:
        InvalidJob: neither.
    """
    if "/" in text:
        return Path(text)
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InvalidJob(f"--listen {text}: is no HOST:PORT and no path", cure="write 127.0.0.1:8080 or ./dir/gw.sock")
    return TcpAddress(host.strip("[]"), int(port))


def parse_usd(text: str | None) -> Decimal | None:
    """An amount of USD.

    Raises:
        InvalidJob: not a number of zero or more.
    """
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidJob(f"--budget-usd {text}: is no number") from None
    if not amount.is_finite() or amount < 0:
        raise InvalidJob(f"--budget-usd {text}: must be zero or more")
    return amount


def parse_timeout(text: str) -> float:
    """Seconds.

    Raises:
        InvalidJob: no duration.
    """
    try:
        return float(parse_duration(text))
    except ValueError as problem:
        raise InvalidJob(f"--timeout: {problem}") from None


def _read_token(path: Path) -> RunToken:
    try:
        return RunToken(path.read_text().strip())
    except OSError as problem:
        raise InvalidJob(f"--token-file {path}: cannot be read: {problem.strerror}") from None
    except ValueError as problem:
        raise InvalidJob(f"--token-file {path}: {problem}") from None
