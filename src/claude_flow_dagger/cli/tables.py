"""Tables for people, whole where nobody looks: in a pipe there is no width to fit into."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_WIDE = 10_000


def make_table(*columns: str) -> Table:
    """An empty table with these headings, without lines."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table


def print_table(table: Table) -> None:
    """Print it on standard output; it is only fitted to a terminal's width."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDE)
    console.print(table)
