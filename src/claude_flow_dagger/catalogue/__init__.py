"""claude-flow's commands, line by line: data made from the packages, and what running them taught. Pure."""
