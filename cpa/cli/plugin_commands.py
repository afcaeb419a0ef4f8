"""Commands that plugins add."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

import click
import pluggy

from cpa.plugins import hookspecs
from cpa.plugins.manager import GROUP, create


def add_plugin_commands(group: click.Group) -> None:
    """Let every announced plugin add its commands; one that fails is named on standard error and left out."""
    if group.commands:
        return
    plugins: list[tuple[str, object]] = []
    for point in entry_points(group=GROUP):
        try:
            plugins.append((point.name, create(point.load(), {})))
        except ImportError as fault:
            if not point.extras:
                click.echo(f"plugin {point.name} left out: {type(fault).__name__}: {fault}", err=True)
        except Exception as fault:
            click.echo(f"plugin {point.name} left out: {type(fault).__name__}: {fault}", err=True)
    collect(group, plugins)


def collect(group: click.Group, plugins: Iterable[tuple[str, object]]) -> None:
    """Let these plugins add their commands to the group."""
    manager = pluggy.PluginManager("cpa")
    manager.add_hookspecs(hookspecs)
    for name, plugin in plugins:
        manager.register(plugin, name=name)
    manager.hook.cpa_commands(group=group)
