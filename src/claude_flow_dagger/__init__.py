"""Swarms of AI agents in pipelines: claude-flow, pinned, sandboxed, under a budget, with a verdict from evidence."""

from typing import Final

__version__: Final = "0.1.0"
