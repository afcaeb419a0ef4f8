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
    words = [[cell if isinstance(cell, Words) else Words(cell) for cell in row] for row in rows]
    shown = [number for number in range(len(headings)) if number == 0 or any(row[number].text for row in words)]
    heads = [headings[number] for number in shown]
    kept = [[row[number] for number in shown] for row in words]
    if not sys.stdout.isatty():
        _print_plainly(heads, [[printable(cell.text) for cell in row] for row in kept])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(heads))
    for number, heading in zip(shown, heads, strict=True):
        table.add_column(heading, no_wrap=number in keep, overflow="fold")
    for row in kept:
        table.add_row(*map(_cell, row))
    _print_table(table)


def _print_plainly(headings: list[str], rows: list[list[str]]) -> None:
    """For files and pipes: one line a row, however long."""
    lines = [headings, *rows] if any(headings) else rows
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_table(table: Table) -> None:
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


def print_item(mark: str | Words, text: str | Words) -> None:
    """An item of a list: all lines of the text stand beside its mark."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(_cell(mark), _cell(text))
    _print_table(table)
