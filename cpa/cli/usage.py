"""``cpa usage``: what was asked of whom, how many tokens that took and what it cost.

Reads the database file itself, so that it works whether or not the daemon runs; nothing in the file is changed.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cpa.cli.database import reading_database
from cpa.cli.options import config_option, days_ago_ms, json_option
from cpa.cli.output import print_json
from cpa.cli.usage_table import usage_table
from cpa.config import load_config

if TYPE_CHECKING:
    import sqlite3

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
    start_ms = days_ago_ms(days) if days else None
    with reading_database(config_path, "usage-statistics-enabled") as connection:
        if export_format is not None:
            _export(connection, export_format, start_ms)
        else:
            rows = _rows(connection, by, start_ms)
            if by == "key" and not as_json:
                rows = _named(rows, config_path)
            _show(rows, by, as_json)


def _export(connection: sqlite3.Connection, name: str, start_ms: int | None) -> None:
    from cpa.usage.export import export_csv, export_jsonl
    from cpa.usage.filters import EventFilter

    export = export_csv if name == "csv" else export_jsonl
    for piece in export(connection, EventFilter(start_ms=start_ms)):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _rows(connection: sqlite3.Connection, by: str, start_ms: int | None) -> list[dict[str, Any]]:
    from cpa.usage.overview import summary

    return summary(connection, by, start_ms)


def _named(rows: list[dict[str, Any]], config_path: Path) -> list[dict[str, Any]]:
    """With the names that the configuration gives to keys; a key without one goes by its id."""
    from cpa.config.client_keys import key_id
    from cpa.config.sections import ClientKey

    keys = [key for key in load_config(config_path, environ=os.environ).config.api_keys if isinstance(key, ClientKey)]
    times = Counter(key.name for key in keys)
    names = {key_id(key.key): key.name for key in keys if times[key.name] == 1}
    return [{**row, "name": names.get(row["name"]) or row["name"]} for row in rows]


def _show(rows: list[dict[str, Any]], by: str, as_json: bool) -> None:
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
