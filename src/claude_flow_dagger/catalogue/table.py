"""The catalogue as a page of documentation. Pure: `docs/commands.md` is what this returns."""

from __future__ import annotations

from claude_flow_dagger.catalogue.load import Catalogue, catalogue
from claude_flow_dagger.catalogue.model import Answers, Command, ExitTrust, Line, Parsed

_ANSWERS = {Answers.CLEAN: "JSON", Answers.AFTER_LOG: "JSON after log lines", Answers.TEXT: "text"}
_TRUST = {
    ExitTrust.BOTH: "believed",
    ExitTrust.ZERO_LIES: "0 is not believed",
    ExitTrust.NONZERO_IS_FINDING: "1 may be a finding",
}


def page() -> str:
    """`docs/commands.md`, all lines."""
    head = (
        "# claude-flow's commands\n\n"
        "Made from the catalogue by `claude_flow_dagger.catalogue.table.page()`; a test holds it current. How a\n"
        "command answers was measured by running it offline with `--format json` (or its own `--json`).\n"
        "`exec` refuses unknown commands, subcommands and options before anything runs.\n"
    )
    return head + "".join(_line(catalogue(line)) for line in Line)


def _line(book: Catalogue) -> str:
    rows = [_row(command) for command in book.walk()]
    return (
        f"\n## {book.line} (read from {book.version})\n\n"
        "| command | answers | exit status | notes |\n| --- | --- | --- | --- |\n" + "".join(rows)
    )


def _row(command: Command) -> str:
    quirk = command.quirk
    notes = list(quirk.notes)
    if not command.works:
        notes.insert(0, "only groups its subcommands")
    if isinstance(quirk.long_running, str):
        notes.insert(0, "refused: would not end by itself")
    elif quirk.long_running is not None:
        notes.insert(0, "refused where it would not end by itself")
    if quirk.needs_model:
        notes.insert(0, "needs a model" if quirk.needs_model is True else "needs a model with some options")
    if quirk.checks is not None:
        notes.append("verified by a second process")
    if quirk.prepare is not None:
        before = quirk.prepare(Parsed(path=command.path, options={}))
        notes.append("prepared by " + ", ".join(f"`{' '.join(argv)}`" for argv in before))
    answers = _ANSWERS[command.answers] + ("" if command.measured else " (not measured)")
    cells = (f"`{command.name}`", answers, _TRUST[command.trust], "; ".join(notes))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
