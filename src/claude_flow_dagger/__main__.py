"""`python -m claude_flow_dagger`."""

from claude_flow_dagger.cli import main

main()
