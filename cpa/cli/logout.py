"""``cpa logout``: delete a login. A running daemon stops using it at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cpa.cli.account_words import printable
from cpa.cli.asking import ask
from cpa.cli.failures import told
from cpa.cli.options import config_option, json_option
from cpa.cli.output import print_json
from cpa.errors import AuthFileError

if TYPE_CHECKING:
    from cpa.cli.login_room import LoginRoom


@click.command()
@click.argument("name")
@config_option
@click.option("--all", "every", is_flag=True, help="Delete every login that NAME fits.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")
@json_option
@told
def logout(name: str, config_path: Path, every: bool, yes: bool, as_json: bool) -> None:
    """Delete the login NAME: a file's name, an e-mail address, or a provider.

    The tokens are deleted here. To end them at the vendor, too, use the vendor's own list of connected programs.
    """
    from cpa.cli.login_room import open_room

    room = open_room(config_path)
    found = room.matching(name)
    if not found:
        raise click.ClickException(f"there is no login {name!r} in {room.files.directory.path}")
    if len(found) > 1 and not every:
        listed = "\n".join(f"  {file.name}" for file in found)
        raise click.ClickException(f"several logins fit {name!r}; name one, or use --all:\n{listed}")
    names = [file.name for file in found]
    ask(f"Delete {', '.join(map(printable, names))}?", yes=yes)
    try:
        deleted = [file for file in names if room.files.directory.delete(file)]
    except (AuthFileError, OSError) as fault:
        raise click.ClickException(f"it cannot be deleted: {fault}") from None
    for file in deleted:
        _tell_daemon(room, file)
    if as_json:
        print_json({"status": "ok", "deleted": deleted})
        return
    for file in deleted:
        click.echo(f"logged out: {file} is deleted")


def _tell_daemon(room: LoginRoom, file: str) -> None:
    """A running daemon would notice by itself, a moment later."""
    from cpa.cli.control import ask_daemon
    from cpa.errors import CpaError

    with suppress(CpaError):
        ask_daemon(room.path, "POST", "/auth-files/check", {"name": file}, environ=room.environ)
