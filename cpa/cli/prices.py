"""``cpa prices``: what models cost, and what of the usage has no price."""

from __future__ import annotations

import click

from cpa.cli.lazy import LazyGroup

COMMANDS = {
    "list": ("cpa.cli.prices_list", "list_prices", "List the models in use and what they cost."),
    "show": ("cpa.cli.prices_list", "show", "Show all there is to know of a model's price."),
    "set": ("cpa.cli.prices_change", "set_price", "Set the price of a model."),
    "unset": ("cpa.cli.prices_change", "unset", "Remove the price of a model."),
    "sync": ("cpa.cli.prices_sync", "sync", "Take prices from a published list."),
    "revalue": ("cpa.cli.prices_revalue", "revalue", "Put the present prices on what was recorded before."),
}
"""Command -> module, attribute, help."""


@click.group(cls=LazyGroup, lazy=COMMANDS)
def prices() -> None:
    """See what models cost, set prices of your own, and take prices from published lists.

    Your own prices are in config.yaml and win over those from lists, which win over those that ship with cpa. A model
    without a price has no cost: it is never counted as free. Everything works with and without a running daemon.
    """
