"""The gateway of one run: its budget and its models out of the job."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from claude_flow_dagger.errors import UnknownPrice
from claude_flow_dagger.execution.reporter import Reporter
from claude_flow_dagger.execution.request import ModelSource
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


def open_gateway(
    model: ModelSource,
    job: AgentJob | CommandJob,
    token: RunToken,
    *,
    socket: Path,
    deadline: float,
    reporter: Reporter,
) -> AbstractAsyncContextManager[Gateway]:
    """The run's gateway, on a socket of its own; closed, it knows no token any more."""
    return Gateway.open(
        upstream=model.upstream,
        listen=socket,
        budget=budget_of(job, deadline),
        token=token,
        on_entry=reporter.request,
    )
