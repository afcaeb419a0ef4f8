"""``cpa prices set`` and ``unset``."""

from __future__ import annotations

from pathlib import Path

import click

from cpa.cli import price_words as words
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option
from cpa.cli.price_source import Prices, complete_model

_USD = click.FloatRange(min=0)


@click.command("set")
@click.argument("model", shell_complete=complete_model)
@click.option("--input", "prompt", type=_USD, metavar="USD", help="A million tokens of prompts.")
@click.option("--output", "completion", type=_USD, metavar="USD", help="A million tokens of answers.")
@click.option("--cache-read", type=_USD, metavar="USD", help="A million tokens that are read from a cache.")
@click.option("--cache-write", type=_USD, metavar="USD", help="A million tokens that are written to a cache.")
@click.option("--cache-write-1h", type=_USD, metavar="USD", help="The same, to be kept for an hour.")
@click.option("--multiplier", type=_USD, metavar="NUMBER", help="Multiplies everything, 0.5 for half the price.")
@click.option("--style", type=click.Choice(["openai", "claude"]), help="How panels count cached tokens.")
@config_option
@json_option
@told
def set_price(model: str, config_path: Path, as_json: bool, **members: float | str | None) -> None:
    """Set what MODEL costs, in USD per million tokens, in config.yaml.

    A model without a price needs --input and --output; 0 says that it is free. What is left out stays as it is.
    """
    given = {name: value for name, value in members.items() if value is not None}
    if not given:
        raise click.UsageError("say what it costs: --input USD --output USD")
    entry = Prices(config_path).set(model, given)
    if as_json:
        from cpa.cli.output import print_json

        print_json({"model": model, "price": entry})
        return
    click.echo(f"{model}: {words.in_a_line(entry)} (USD per million tokens)")


@click.command()
@click.argument("model", shell_complete=complete_model)
@config_option
@json_option
@told
def unset(model: str, config_path: Path, as_json: bool) -> None:
    """Remove the price of MODEL: your own, else the one that was taken from a list. The one beneath counts then."""
    entry = Prices(config_path).unset(model)
    if as_json:
        from cpa.cli.output import print_json

        print_json({"model": model, "price": entry})
        return
    if entry is None:
        click.echo(f"{model}: removed, it has no price now")
    else:
        click.echo(f"{model}: removed, now {words.in_a_line(entry)} (from {words.origin(entry)})")
