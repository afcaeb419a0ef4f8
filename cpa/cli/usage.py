"""``cpa usage``: what was asked of whom, how many tokens that took and what it cost.

Reads the database file itself, so that it works whether or not the daemon runs; nothing in the file is changed.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cpa.cli.database import reading_database
from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_json
from cpa.cli.usage_table import usage_table

if TYPE_CHECKING:
    import sqlite3

DAY_MS = 86_400_000
BY = ("day", "model", "account", "key", "provider", "requested", "effort", "tier", "served-tier", "endpoint")
PIPED_WIDTH = 400
"""Columns of a line that no terminal breaks."""


@click.command()
@config_option
@click.option(
    "--by",
    type=click.Choice(BY),
    default="day",
    show_default=True,
    metavar="WHAT",
    help=f"What a line stands for: {', '.join(BY)}.",
)
@click.option("--days", type=click.IntRange(min=0), default=30, show_default=True, help="How far back; 0 for all.")
@click.option(
    "--export",
    "export_format",
    type=click.Choice(["csv", "jsonl"]),
    help="Write every attempt to standard output instead of a table.",
)
@json_option
def usage(config_path: Path, by: str, days: int, export_format: str | None, as_json: bool) -> None:
    """Show requests, tokens and cost by day, model, account, key, or what else requests differ in."""
    start_ms = int(time.time() * 1000) - days * DAY_MS if days else None
    with reading_database(config_path, "usage-statistics-enabled") as connection:
        if export_format is not None:
            _export(connection, export_format, start_ms)
        else:
            _show(connection, by, start_ms, as_json)


def _export(connection: sqlite3.Connection, name: str, start_ms: int | None) -> None:
    from cpa.usage.export import export_csv, export_jsonl
    from cpa.usage.filters import EventFilter

    export = export_csv if name == "csv" else export_jsonl
    for piece in export(connection, EventFilter(start_ms=start_ms)):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _show(connection: sqlite3.Connection, by: str, start_ms: int | None, as_json: bool) -> None:
    from cpa.usage.overview import summary

    rows = summary(connection, by, start_ms)
    if as_json:
        print_json([_plain(row) for row in rows])
        return
    if not rows:
        click.echo("nothing was recorded in this time")
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else PIPED_WIDTH
    table = usage_table(rows, by, width)
    click.secho(table.heading, bold=True)
    for line in table.lines:
        click.echo(line.rstrip())
    click.secho(table.total, bold=True)
    if table.unpriced:
        click.echo(f"\n{table.unpriced} of the tokens have no cost, marked - or +: cpa prices list says which")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A line for programs; ``cost_usd`` is null when nothing in it has a price."""
    share = row["unpriced_tokens"] / row["total_tokens"] if row["total_tokens"] else 0.0
    shown = {name: value for name, value in row.items() if name not in ("cost_nanos", "priced")}
    return {
        **shown,
        "unpriced_share": share,
        "priced_attempts": row["priced"],
        "cost_usd": row["cost_nanos"] / 1e9 if row["priced"] else None,
    }
