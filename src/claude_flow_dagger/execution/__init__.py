"""Runs jobs: workspace, gateway, sandbox, proof, verdict, result, in this order."""

from claude_flow_dagger.execution.request import ModelSource, Request
from claude_flow_dagger.execution.run import check_request, execute

__all__ = ["ModelSource", "Request", "check_request", "execute"]
