"""``cpa prices sync``: take prices from a published list."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from cpa.cli import price_words as words
from cpa.cli.account_words import DOUBTFUL, DULL, GOOD, Words
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option
from cpa.cli.price_source import Prices, complete_model
from cpa.usage.price_lists import LITELLM, SOURCES

NARROW = 100
"""Columns from which on everything is shown."""
ACTIONS = {
    "added": Words("new", GOOD),
    "changed": Words("changed", DOUBTFUL),
    "unchanged": Words("same", DULL),
    "manual": Words("yours, kept", DULL),
    "missing": Words("not listed", DOUBTFUL),
}


@click.command()
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_model)
@click.option("--source", type=click.Choice(SOURCES), default=LITELLM, show_default=True, help="Whose list.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@click.option("--overwrite-manual", is_flag=True, help="Replace your own prices too, those in config.yaml.")
@config_option
@json_option
@told
def sync(
    models: tuple[str, ...], source: str, dry_run: bool, overwrite_manual: bool, config_path: Path, as_json: bool
) -> None:
    """Take the prices of MODELs, or of all that were ever used, from a published list.

    The list is read from the Internet, through proxy-url if one is set; nothing of you is sent. Your own prices stay
    unless you say --overwrite-manual. Prices of lists win over those that ship with cpa.
    """
    answer = Prices(config_path).sync(models, source, preview=dry_run, overwrite=overwrite_manual)
    if as_json:
        from cpa.cli.output import print_json

        print_json({name: value for name, value in answer.items() if name != "prices"})
        return
    if not answer["models"]:
        click.echo("no model was used yet: name those whose prices you want")
        return
    _print(answer["models"])
    click.echo(f"\n{_sum(answer['models'])}" + ("; nothing was changed" if dry_run else ""))


def _print(models: list[dict[str, Any]]) -> None:
    from cpa.cli.screen import print_rows

    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < NARROW
    rows = []
    for each in models:
        style = DULL if each["action"] == "manual" else ""
        parts = [Words(_change(each, name), style) for name in ("prompt", "completion", "cache_read")]
        after = each["after"]
        name = after["sourceModelId"] if after is not None and after["sourceModelId"] != each["model"] else ""
        if narrow:
            name = ""
        rows.append((each["model"], ACTIONS[each["action"]], *parts, Words(name, DULL)))
    print_rows(("MODEL", "", "INPUT", "OUTPUT", "CACHED", "LISTED AS"), rows, keep=(1, 2, 3, 4))


def _change(each: dict[str, Any], name: str) -> str:
    """What the list says of a part of the price; what counted before in front of it where that is something else."""
    before, after = each["before"], each["after"]
    if after is None:
        return ""
    was, now = words.dollars(before[name]) if before is not None else "", words.dollars(after[name])
    return f"{was} > {now or '-'}" if each["action"] == "changed" and was and was != now else now


def _sum(models: list[dict[str, Any]]) -> str:
    counted = Counter(each["action"] for each in models)
    said = (
        ("added", "new"),
        ("changed", "changed"),
        ("unchanged", "the same"),
        ("manual", "your own"),
        ("missing", "not listed"),
    )
    return ", ".join(f"{counted[action]} {text}" for action, text in said if counted[action])
