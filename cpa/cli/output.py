"""How commands print: text for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
import orjson


def print_json(value: Any) -> None:
    """One JSON document, indented, keys in their order."""
    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns; headings in bold on a terminal."""
    widths = [max(len(row[column]) for row in [headings, *rows]) for column in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    click.secho(line(headings), bold=True)
    for row in rows:
        click.echo(line(row))


MARKS = {"ok": ("ok  ", "green"), "warning": ("warn", "yellow"), "problem": ("FAIL", "red"), "info": ("    ", None)}


def print_finding(level: str, text: str) -> None:
    """One line of a check: ``ok``, ``warning``, ``problem`` or ``info``."""
    mark, colour = MARKS[level]
    click.echo(f"{click.style(mark, fg=colour, bold=True) if colour else mark}  {text}")
