"""Commands that plugins add."""

from __future__ import annotations

from importlib.metadata import entry_points

import click
import pluggy

from cpa.plugins import hookspecs
from cpa.plugins.manager import GROUP


def add_plugin_commands(group: click.Group) -> None:
    """Let every announced plugin add its commands; one that fails is named on standard error and left out."""
    if group.commands:
        return
    manager = pluggy.PluginManager("cpa")
    manager.add_hookspecs(hookspecs)
    for point in entry_points(group=GROUP):
        try:
            module = point.load()
            factory = getattr(module, "create_plugin", None)
            manager.register(factory() if callable(factory) else module, name=point.name)
        except Exception as fault:
            click.echo(f"plugin {point.name} left out: {type(fault).__name__}: {fault}", err=True)
    manager.hook.cpa_commands(group=group)
