"""``cpa usage``: what was asked of whom, how many tokens that took and what it cost.

Reads the database file itself, so that it works whether or not the daemon runs; nothing in the file is changed.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_json, print_table
from cpa.config import load_config
from cpa.errors import ConfigError

if TYPE_CHECKING:
    import sqlite3

DAY_MS = 86_400_000
BAR = 24
"""Width of the longest bar, in characters."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


@click.command()
@config_option
@click.option(
    "--by",
    type=click.Choice(["day", "model", "account", "key", "provider"]),
    default="day",
    show_default=True,
    help="What a line stands for.",
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
    """Show requests, tokens and cost by day, model, account, key or provider."""
    import sqlite3

    start_ms = int(time.time() * 1000) - days * DAY_MS if days else None
    path = _database(config_path)
    if not path.exists():
        raise click.ClickException(f"nothing was recorded yet: there is no {path} (usage-statistics-enabled: true?)")
    try:
        connection = _open(path)
        try:
            if export_format is not None:
                _export(connection, export_format, start_ms)
            else:
                _show(connection, by, start_ms, as_json)
        finally:
            connection.close()
    except sqlite3.Error as fault:
        raise click.ClickException(f"{path} cannot be read: {fault}") from None


def _database(config_path: Path) -> Path:
    """The database a configuration names; relative paths begin at the folder of the configuration."""
    try:
        config = load_config(config_path, environ=os.environ).config
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None
    return config_path.absolute().parent / Path(config.usage_database_path).expanduser()


def _open(path: Path) -> sqlite3.Connection:
    from cpa.usage.schema import VERSION, open_for_reading

    connection = open_for_reading(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        connection.close()
        older = "older: start the daemon once, it takes the file over" if version < VERSION else "newer than this cpa"
        raise click.ClickException(f"{path} has another layout, {older}")
    return connection


def _export(connection: sqlite3.Connection, name: str, start_ms: int | None) -> None:
    from cpa.usage.filters import EventFilter
    from cpa.usage.transfer import export_csv, export_jsonl

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
    most = max(row["total_tokens"] for row in rows)
    print_table(
        (by.upper(), "REQUESTS", "ATTEMPTS", "FAILED", "TOKENS", "CACHED", "OUTPUT", "COST", ""),
        [_cells(row, most) for row in [*rows, _total(rows)]],
    )
    if any(row["priced"] < row["attempts"] - row["failed"] for row in rows):
        click.echo("\n+ means: not everything in this line has a price or told its tokens")


def _cells(row: dict[str, Any], most: int) -> tuple[str, ...]:
    return (
        row["name"] or "(none)",
        f"{row['requests']:,}",
        f"{row['attempts']:,}",
        f"{row['failed']:,}",
        f"{row['total_tokens']:,}",
        f"{row['cache_read_tokens']:,}",
        f"{row['output_tokens']:,}",
        _cost(row),
        "" if row["name"] == "total" else bar(row["total_tokens"], most),
    )


def _cost(row: dict[str, Any]) -> str:
    """Dollars; a dash when nothing in the line has a price."""
    if not row["priced"]:
        return "-"
    cents = f"${row['cost_nanos'] / 1e9:,.2f}"
    return f"{cents}+" if row["priced"] < row["attempts"] - row["failed"] else cents


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A line for programs; ``cost_usd`` is null when nothing in it has a price."""
    shown = {name: value for name, value in row.items() if name not in ("cost_nanos", "priced")}
    return {**shown, "priced_attempts": row["priced"], "cost_usd": row["cost_nanos"] / 1e9 if row["priced"] else None}


def _total(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": "total", **{name: sum(row[name] for row in rows) for name in rows[0] if name != "name"}}


def bar(value: int, most: int) -> str:
    """A bar whose length is the share of ``most``, to an eighth of a character."""
    eighths = round(BAR * 8 * value / most) if most else 0
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()
