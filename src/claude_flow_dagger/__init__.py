"""Run claude-flow's swarms of AI agents in pipelines: pinned, sandboxed, under a budget, with a verdict from evidence."""

from typing import Final

__version__: Final = "0.1.0"
