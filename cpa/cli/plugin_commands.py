"""Commands that plugins add."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

import click

GROUP = "cpa"
"""The group of entry points that announces plugins."""
OURS = "cpa"
"""The distribution whose plugins add no commands; loading them all would only make every help page slow."""


def add_plugin_commands(group: click.Group) -> None:
    """Let every installed plugin add its commands; one that fails is named on standard error and left out."""
    if group.commands:
        return
    points = [point for point in entry_points(group=GROUP) if point.dist is None or point.dist.name != OURS]
    if points:
        collect(group, list(_loaded(points)))


def _loaded(points: Iterable[EntryPoint]) -> Iterable[tuple[str, object]]:
    from cpa.plugins.manager import create

    for point in points:
        try:
            yield point.name, create(point.load(), {})
        except ImportError as fault:
            if not point.extras:
                click.echo(f"plugin {point.name} left out: {type(fault).__name__}: {fault}", err=True)
        except Exception as fault:
            click.echo(f"plugin {point.name} left out: {type(fault).__name__}: {fault}", err=True)


def collect(group: click.Group, plugins: Iterable[tuple[str, object]]) -> None:
    """Let these plugins add their commands to the group."""
    import pluggy

    from cpa.plugins import hookspecs

    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for name, plugin in plugins:
        manager.register(plugin, name=name)
    manager.hook.cpa_commands(group=group)
