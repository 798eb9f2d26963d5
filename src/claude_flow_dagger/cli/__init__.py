"""The command line: `claude-flow-dagger`."""

from claude_flow_dagger.cli.main import main

__all__ = ["main"]
