"""The commands, each registered from a module of its own."""

from __future__ import annotations

import typer

from claude_flow_dagger.cli.doctor import doctor
from claude_flow_dagger.cli.gateway import gateway
from claude_flow_dagger.cli.image import image
from claude_flow_dagger.cli.info import commands, schema, version
from claude_flow_dagger.cli.root import Root
from claude_flow_dagger.cli.run import exec_command, run
from claude_flow_dagger.cli.runtime import runtime

HELP = """Swarms of AI agents in pipelines: claude-flow, pinned, sandboxed, on a budget, judged by evidence.

A first run, without a key and without a bill; the model is a script:

    claude-flow-dagger run "Greet in French too" --source examples/greeter --model-script examples/greeter/french.yaml

Exit statuses: 0 succeeded, 1 failed, 2 refused input, 3 no work, 4 budget exceeded, 5 policy denied,
75 infrastructure error (the only one worth a retry), 124 timed out, 130 cancelled.
"""

app = typer.Typer(
    cls=Root,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run")(run)
app.command("exec", context_settings={"ignore_unknown_options": False})(exec_command)
app.command("doctor")(doctor)
app.add_typer(runtime, name="runtime")
app.add_typer(image, name="image")
app.command("gateway")(gateway)
app.command("commands")(commands)
app.command("schema")(schema)
app.command("version")(version)
