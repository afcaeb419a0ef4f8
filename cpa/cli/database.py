"""The usage database, read by commands without the daemon; nothing in it is changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cpa.config import Config, load_config
from cpa.errors import ConfigError

if TYPE_CHECKING:
    import sqlite3


def database_of(config: Config, config_path: Path) -> Path:
    """The database of a configuration; a relative path begins at the folder of ``config_path``, where it was read."""
    return config_path.absolute().parent / Path(config.usage_database_path).expanduser()


def unreadable(path: Path, fault: sqlite3.Error) -> str:
    """Why the database at ``path`` cannot be read, and what becomes of it when it is damaged."""
    from cpa.usage.quarantine import is_damage

    advice = "; the daemon puts it aside and begins a new one when it starts" if is_damage(fault, path) else ""
    return f"{path} cannot be read: {fault}{advice}"


@contextmanager
def reading_database(config_path: Path, *switches: str) -> Iterator[sqlite3.Connection]:
    """A connection that reads; nothing is in it where nothing was recorded yet, which is told beside the output.

    ``switches`` are the settings any of which has something recorded.
    """
    import sqlite3

    try:
        config = load_config(config_path, environ=os.environ).config
    except ConfigError as fault:
        raise click.ClickException(str(fault)) from None
    path = database_of(config, config_path)
    if not path.exists():
        click.echo(f"nothing was recorded yet: {_why_nothing(config, path, switches)}", err=True)
    try:
        connection = _open(path)
        try:
            yield connection
        finally:
            connection.close()
    except sqlite3.Error as fault:
        raise click.ClickException(unreadable(path, fault)) from None


def _why_nothing(config: Config, path: Path, switches: tuple[str, ...]) -> str:
    settings = config.plain()
    if any(settings[name] for name in switches):
        return f"{path} begins with the first request"
    return f"there is no {path}; {' or '.join(f'{name}: true' for name in switches)} in the configuration begins it"


def _open(path: Path) -> sqlite3.Connection:
    from cpa.usage.schema import VERSION, empty_database, open_for_reading

    if not path.exists():
        return empty_database()
    connection = open_for_reading(path)
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        connection.close()
        older = "older: start the daemon once, it takes the file over" if version < VERSION else "newer than this cpa"
        raise click.ClickException(f"{path} has another layout, {older}")
    return connection
