"""A scan's report for people."""

from __future__ import annotations

from rich.text import Text

from claude_flow_dagger.cli.printable import printable
from claude_flow_dagger.cli.tables import make_table, print_table
from claude_flow_dagger.image.report import Report


def print_report(report: Report) -> None:
    """Print what was asked, what was found, and the state."""
    asked = make_table("asked", "covers", "answer")
    for source in report.sources:
        asked.add_row(Text(source.name), Text(source.covers), Text(printable(source.why) or "answered"))
    print_table(asked)
    if report.findings:
        found = make_table("severity", "package", "version", "fixed in", "advisory", "what")
        for finding in report.findings:
            cells = (finding.package, finding.version, finding.fixed, finding.id, finding.title)
            found.add_row(Text(finding.severity.name.lower()), *(Text(printable(cell)) for cell in cells))
        print_table(found)
    print(f"{report.image}: {report.state.value}, {len(report.findings)} findings")
