"""``cpa help COMMAND``: the same as ``cpa COMMAND --help``."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The commands that may come next."""
    command = _found(context, context.params.get("names") or ()).command
    names = command.list_commands(context) if isinstance(command, click.Group) else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.command(name="help")
@click.argument("names", metavar="[COMMAND]...", nargs=-1, shell_complete=_complete)
@click.pass_context
def help_command(context: click.Context, names: tuple[str, ...]) -> None:
    """Show what a command is for and what it takes: cpa help accounts list."""
    click.echo(_found(context, names).get_help())


def _found(context: click.Context, names: Sequence[str]) -> click.Context:
    """The context of the command of these names. Raises UsageError when there is none."""
    found = context.find_root()
    for name in names:
        command = found.command.get_command(found, name) if isinstance(found.command, click.Group) else None
        if command is None:
            raise click.UsageError(f"No such command {name!r}.", found)
        found = click.Context(command, info_name=name, parent=found)
    return found
