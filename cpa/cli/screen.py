"""Tables and texts on a terminal; plain text where standard output is none, or ``NO_COLOR`` is set."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cpa.cli.account_words import Words, printable

_PIPED_WIDTH = 400
"""Columns of a line nobody's terminal breaks."""


def console() -> Console:
    """Where to print. Nothing is cut or wrapped when the output goes into a file or a pipe."""
    width = None if sys.stdout.isatty() else _PIPED_WIDTH
    return Console(width=width, highlight=False, soft_wrap=False, emoji=False, markup=False)


def print_rows(headings: Sequence[str], rows: Iterable[Sequence[str | Words]], *, keep: Sequence[int] = ()) -> None:
    """A table without lines. Columns that hold nothing are left out; those in ``keep`` are never broken."""
    cells = [[_cell(cell) for cell in row] for row in rows]
    shown = [number for number in range(len(headings)) if number == 0 or any(row[number].plain for row in cells)]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(headings))
    for number in shown:
        table.add_column(headings[number], no_wrap=number in keep, overflow="fold")
    for row in cells:
        table.add_row(*(row[number] for number in shown))
    screen = console()
    with screen.capture() as captured:
        screen.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())


def _cell(cell: str | Words) -> Text:
    words = cell if isinstance(cell, Words) else Words(cell)
    return Text(printable(words.text), style=words.style)


def print_line(*parts: str | Words) -> None:
    """One paragraph, its parts in their colours."""
    console().print(Text.assemble(*((_cell(part)) for part in parts)))
