"""The gateway of one run: its budget and its models out of the job."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from claude_flow_dagger.errors import UnknownPrice
from claude_flow_dagger.execution.reporter import Reporter
from claude_flow_dagger.execution.request import ModelSource
from claude_flow_dagger.gateway import Budget, Gateway, known
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
    model: ModelSource, budget: Budget, token: str, *, socket: Path, reporter: Reporter
) -> AbstractAsyncContextManager[Gateway]:
    """The run's gateway, on a socket of its own; closed, it knows no token any more."""
    return Gateway.open(model.upstream, budget, token, socket=socket, on_entry=reporter.request)
