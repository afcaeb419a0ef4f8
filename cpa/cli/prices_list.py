"""``cpa prices list`` and ``show``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click

from cpa.cli import price_words as words
from cpa.cli.account_words import DOUBTFUL, DULL, Words, one_line
from cpa.cli.failures import told
from cpa.cli.options import config_option, days_ago_ms, json_option
from cpa.cli.price_source import NoSuchPrice, Prices, complete_model
from cpa.conversation.usage import Usage
from cpa.usage.price_rows import shown_row
from cpa.usage.prices import FACTOR_FIELDS, PriceTable

NARROW = 100
"""Columns from which on everything is shown."""
ADVICE = ("cpa prices sync takes prices from a list,", "cpa prices set MODEL --input USD --output USD sets one")


@click.command("list")
@click.argument("pattern", default="", shell_complete=complete_model)
@click.option("--all", "everything", is_flag=True, help="List every model that has a price, in use or not.")
@click.option("--days", type=click.IntRange(min=0), default=30, show_default=True, help="How far back; 0 for all.")
@config_option
@json_option
@told
def list_prices(pattern: str, everything: bool, days: int, config_path: Path, as_json: bool) -> None:
    """List the models in use: what they cost, where that is known from, and how much of their tokens has no price.

    Prices are USD per million tokens. PATTERN filters by part of the name.
    """
    prices = Prices(config_path)
    table = prices.table
    since = days_ago_ms(days) if days else None
    used = {row["name"]: row for row in prices.used(since) if row["total_tokens"] or table.search(row["name"])}
    names = [*used, *sorted(table.rows().keys() - used.keys())] if everything else list(used)
    rows = [_line(name, used.get(name), table) for name in names if name and pattern.lower() in name.lower()]
    if as_json:
        from cpa.cli.output import print_json

        print_json(rows)
        return
    if not rows:
        click.echo(_nothing(pattern, days, everything))
        return
    _print(rows)
    _sum_up(rows, table.as_of)


def _line(name: str, used: dict[str, Any] | None, table: PriceTable) -> dict[str, Any]:
    found = table.search(name)
    tokens, unpriced = (used["total_tokens"], used["unpriced_tokens"]) if used else (0, 0)
    return {
        "model": name,
        "attempts": used["attempts"] if used else 0,
        "tokens": tokens,
        "unpriced_tokens": unpriced,
        "unpriced_share": unpriced / tokens if tokens else 0.0,
        "priced_as": found.name if found is not None else None,
        "price": shown_row(found.row) if found is not None else None,
    }


def _nothing(pattern: str, days: int, everything: bool) -> str:
    if pattern:
        return f"no model {'with a price' if everything else 'in use'} matches {pattern!r}"
    since = f"in the last {days} days" if days else "yet"
    return f"no model was used {since}; cpa prices list --all shows every price"


HEADINGS = ("MODEL", "INPUT", "OUTPUT", "CACHED", "WRITTEN", "FROM", "TOKENS", "UNPRICED")
SPARED = (3, 4)
"""Columns that a narrow terminal does without."""
NUMBERS = (1, 2, 3, 4, 6, 7)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from cpa.cli.screen import print_rows

    narrow = sys.stdout.isatty() and shutil.get_terminal_size().columns < NARROW
    cells = [list(_cells(row)) for row in rows]
    for column in SPARED if narrow else ():
        for line in cells:
            line[column] = Words("")
    heads = list(HEADINGS)
    for column in NUMBERS:
        width = max(len(heads[column]), *(len(line[column].text) for line in cells))
        heads[column] = heads[column].rjust(width)
        for line in cells:
            text = line[column].text
            line[column] = Words(text.rjust(width) if text else "", line[column].style)
    print_rows(heads, cells, keep=(*NUMBERS, 5))


def _cells(row: dict[str, Any]) -> Iterable[Words]:
    from cpa.cli.usage_table import short

    price = row["price"]
    unpriced = words.share(row["unpriced_tokens"], row["tokens"])
    yield Words(one_line(row["model"]))
    if price is None:
        yield from (Words("-", DOUBTFUL), Words("-", DOUBTFUL), Words(""), Words(""), Words("no price", DOUBTFUL))
    else:
        times = "" if price["multiplier"] == 1 else f" x{price['multiplier']:g}"
        yield from (Words(words.dollars(price[name])) for name in ("prompt", "completion", "cache_read", "cache_write"))
        yield Words(f"{words.origin(price)}{times}", DULL)
    yield Words(short(row["tokens"]) if row["tokens"] else "")
    yield Words(unpriced, DOUBTFUL)


def _sum_up(rows: Sequence[dict[str, Any]], as_of: str) -> None:
    tokens, unpriced = (sum(row[name] for row in rows) for name in ("tokens", "unpriced_tokens"))
    click.echo(f"\nUSD per million tokens; prices from cpa are of {as_of}")
    if unpriced:
        click.echo(f"{words.share(unpriced, tokens)} of the tokens have no cost in the record")
    if any(row["price"] is not None and row["unpriced_tokens"] for row in rows):
        click.echo("Recorded before their price was known:\n  cpa prices revalue computes their cost")
    if any(row["price"] is None for row in rows):
        click.echo("No price:\n  " + "\n  ".join(ADVICE))


@click.command()
@click.argument("model", shell_complete=complete_model)
@config_option
@json_option
@told
def show(model: str, config_path: Path, as_json: bool) -> None:
    """Show the price that counts for MODEL, where it comes from and which factors may be on it."""
    prices = Prices(config_path)
    found = prices.table.search(model)
    if found is None:
        raise NoSuchPrice(f"{model} has no price: {' '.join(ADVICE)}")
    row = shown_row(found.row)
    if as_json:
        from cpa.cli.output import print_json

        print_json({"model": model, "priced_as": found.name, "price": row})
        return
    _print_details(model, found.name, row, prices)


def _print_details(model: str, name: str, row: dict[str, Any], prices: Prices) -> None:
    from cpa.cli.screen import print_rows

    table = prices.table
    click.secho(model, bold=True)
    cached = row["cache_read"] if row["cache_read"] is not None else row["prompt"]
    written = row["cache_write"] if row["cache_write"] is not None else row["prompt"]
    hour = row["cache_write_1h"] if row["cache_write_1h"] is not None else written
    synced = f", read {words.day(row['syncedAtMs'])}" if row["syncedAtMs"] else ""
    known_as = f" as {row['sourceModelId']}" if row["sourceModelId"] else ""
    shipped = f" (prices of {table.as_of})" if row["source"] == "built-in" else ""
    tokens = Usage(input_total=10_000, output_total=1000)
    cost = table.cost(tokens, model=model)
    lines = [
        ("from", f"{words.origin(row)}{known_as}{synced}{shipped}"),
        ("under the name", name if name != model else ""),
        ("input", words.dollars(row["prompt"])),
        ("output", words.dollars(row["completion"])),
        ("read from a cache", words.dollars(cached)),
        ("written to a cache", words.dollars(written)),
        ("  for an hour", words.dollars(hour) if hour != written else ""),
        ("longer prompts", _above(row["above"]) if row["above"] else ""),
        ("multiplied by", f"{row['multiplier']:g}" if row["multiplier"] != 1 else ""),
        *_factors(prices, model),
        ("10,000 tokens in, 1,000 out", words.example(cost)),
    ]
    print_rows(("", ""), [(f"  {label}", text) for label, text in lines if text], keep=(0,))
    click.echo("USD per million tokens")


def _above(above: dict[str, Any]) -> str:
    prices = f"{words.dollars(above['prompt'])} in, {words.dollars(above['completion'])} out"
    return f"above {above['tokens']:,} tokens: {prices}"


def _factors(prices: Prices, model: str) -> Iterable[tuple[str, str]]:
    """Every factor that may be on the price, with what else it asks for."""
    for entry in prices.config.price_factors:
        if entry.model and not fnmatchcase(model, entry.model):
            continue
        named = [(name, getattr(entry, name)) for name in FACTOR_FIELDS if name != "model" and getattr(entry, name)]
        what = ", ".join(f"{name.replace('_', '-')} {pattern}" for name, pattern in named)
        yield f"times {entry.factor:g}", f"for {what}" if what else "always"
