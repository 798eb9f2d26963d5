"""The gateway of one run: its budget and its models out of the job."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from claude_flow_dagger.errors import UnknownPrice
from claude_flow_dagger.execution.reporter import Reporter
from claude_flow_dagger.execution.request import Request
from claude_flow_dagger.gateway.budget import Budget
from claude_flow_dagger.gateway.prices import known
from claude_flow_dagger.gateway.server import Gateway
from claude_flow_dagger.gateway.wire import RunToken
from claude_flow_dagger.job import AgentJob, CommandJob


def budget_of(job: AgentJob | CommandJob, deadline: float | None) -> Budget:
    """The budget that a job's limits allow.

    Args:
        job: its models must have a price when it has a budget in USD.
        deadline: on the clock of `time.monotonic()`.

    Raises:
        UnknownPrice: a budget in USD cannot be held without a price.
    """
    models = [name for name in (job.model.name, job.model.fallback) if name is not None]
    unknown = [name for name in models if not known(name)] if job.limits.usd is not None else []
    if unknown:
        raise UnknownPrice(
            f"a budget in USD cannot be held: the price of {', '.join(unknown)} is not known",
            cure="limit tokens or requests instead, or use a model with a known price",
        )
    limits = job.limits
    return Budget(usd=limits.usd, tokens=limits.tokens, requests=limits.requests, deadline=deadline)


def models_of(job: AgentJob | CommandJob) -> frozenset[str]:
    """The models that a job may ask for. Claude Code cuts a suffix such as `[1m]` before it asks (seen in 2.1.330)."""
    return frozenset(name.split("[", 1)[0] for name in (job.model.name, job.model.fallback) if name is not None)


def open_gateway(
    request: Request, token: RunToken, *, socket: Path, deadline: float, reporter: Reporter
) -> AbstractAsyncContextManager[Gateway] | None:
    """The run's gateway, on a socket of its own; closed, it knows no token any more. None for a run without a model."""
    if request.model is None:
        return None
    return Gateway.open(
        upstream=request.model.upstream,
        listen=socket,
        budget=budget_of(request.job, deadline),
        token=token,
        models=models_of(request.job),
        ledger_path=request.ledger,
        on_entry=reporter.request,
    )
