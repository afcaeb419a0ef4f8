"""``cpa prices revalue``: put the present prices on what was recorded before."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option
from cpa.cli.price_source import Prices
from cpa.cli.usage_table import money


@click.command()
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help="From this day on, 2026-01-31; everything unless told.",
)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@config_option
@json_option
@told
def revalue(since: datetime | None, dry_run: bool, config_path: Path, as_json: bool) -> None:
    """Compute the cost of recorded attempts anew, at the prices and factors of now, and sum it again.

    An attempt whose model has no price now keeps the cost it has. What client keys have used of their budgets stays.
    """
    since_ms = int(since.timestamp() * 1000) if since is not None else 0
    done = Prices(config_path).revalue(since_ms, preview=dry_run)
    if as_json:
        from cpa.cli.output import print_json

        print_json(done)
        return
    click.echo(_said(done))


def _said(done: dict[str, Any]) -> str:
    if not done["attempts"]:
        return "no attempt that used tokens is recorded in this time"
    cost = f"{money(done['before_nanos'])} before, {money(done['after_nanos'])} now"
    changed = f"{done['changed']:,} of {done['attempts']:,} attempts get another cost: {cost}"
    unpriced = f"\n{done['unpriced']:,} have none, because their model has no price" if done["unpriced"] else ""
    return changed + unpriced + ("\nnothing was changed" if done["preview"] else "")
