"""A CLIProxyAPI installation: where its configuration, its auth directory and its usage database are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from cpa.config import LoadedConfig, load_config
from cpa.errors import ConfigError
from cpa.importing.reading import Unreadable, read_source

TITLE = "CLIProxyAPI"
CONFIG_NAMES = ("config.yaml", "config.yml", "cliproxyapi.conf")
LARGEST_CONFIG = 4 * 1024 * 1024
USUAL_FOLDERS = ("cliproxyapi", "CLIProxyAPI", ".config/cliproxyapi", ".config/CLIProxyAPI")
"""Below the user's home: where its installers and its documentation put it."""
USUAL_PLACES = ("/opt/homebrew/etc", "/usr/local/etc", "/home/linuxbrew/.linuxbrew/etc")
"""Where a package manager puts ``cliproxyapi.conf``."""


class Installation(Struct, frozen=True):
    """What was found; everything may be missing."""

    config_path: Path | None
    loaded: LoadedConfig | None
    """None when the configuration is missing or broken."""
    fault: str
    """What is wrong with the configuration."""
    auth_dir: Path | None
    database: Path | None
    """The usage database, when there is one."""


def installation_at(path: Path) -> Installation:
    """The installation of a configuration file or of a folder that holds one.

    A folder without a configuration is taken as an auth directory. Raises Unreadable when there is nothing.
    """
    if path.is_dir():
        config = next((path / name for name in CONFIG_NAMES if (path / name).is_file()), None)
        if config is None:
            return Installation(None, None, "", path, None)
        return _of_config(config)
    if not path.exists():
        raise Unreadable("there is no such file or folder")
    return _of_config(path)


def _of_config(path: Path) -> Installation:
    try:
        read_source(path, LARGEST_CONFIG)
        loaded = load_config(path, environ={})
    except (ConfigError, Unreadable, OSError) as fault:
        return Installation(path, None, str(fault), None, None)
    folder = path.absolute().parent
    database = folder / Path(loaded.config.usage_database_path).expanduser()
    return Installation(path, loaded, "", folder / loaded.config.auth_dir, database if database.is_file() else None)


def usual_installations(home: Path, ours: Path) -> Iterator[Path]:
    """Configurations of CLIProxyAPI at the usual places, ``ours`` left out."""
    for folder in USUAL_FOLDERS:
        for name in CONFIG_NAMES:
            path = home / folder / name
            if path.is_file() and not _same(path, ours):
                yield path
    for place in USUAL_PLACES:
        path = Path(place) / "cliproxyapi.conf"
        if path.is_file():
            yield path


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False
