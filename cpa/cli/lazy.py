"""Groups of commands whose modules are imported when a command is used: what is not asked for costs no time."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import click

Commands: TypeAlias = Mapping[str, tuple[str, str, str]]
"""Command -> module, attribute, help."""


LONGEST_HELP = 80
"""Characters of what a command says of itself in the help of its group."""


class LazyGroup(click.Group):
    """A group with ``lazy`` commands beside those that are added to it: ``@click.group(cls=LazyGroup, lazy={...})``."""

    def __init__(self, *arguments: Any, lazy: Commands, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *sorted(set(super().list_commands(ctx)) - set(self.lazy))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, attribute, _ = self.lazy[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        added = [(name, command.get_short_help_str(LONGEST_HELP)) for name, command in sorted(self.commands.items())]
        with formatter.section("Commands"):
            formatter.write_dl([*((name, entry[2]) for name, entry in self.lazy.items()), *added])
