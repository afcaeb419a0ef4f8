"""Build, without serving, what a configuration yields: plugins, accounts, models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.cli.quiet import Quiet
from cpa.config import Config, LoadedConfig, load_config
from cpa.errors import AuthFileError
from cpa.exchange.roster import Roster
from cpa.plugins.manager import Plugins


class Inspection(Struct):
    """What a configuration yields."""

    loaded: LoadedConfig
    plugins: Plugins
    pool: AccountPool
    catalog: Catalog
    roster: Roster
    unusable_files: dict[str, str]
    """Auth files that cannot be used, with the reason."""

    @property
    def config(self) -> Config:
        return self.loaded.config


def inspect_config(path: Path, environ: Mapping[str, str] = os.environ, *, logins_needed: bool = True) -> Inspection:
    """Read a configuration and derive its accounts and models.

    Raises ConfigError, and AuthFileError when the auth directory cannot be read unless the logins in it are not needed.
    """
    loaded = load_config(path, environ=environ)
    log = Quiet()
    plugins = Plugins(log)
    plugins.load(loaded.config)
    pool = AccountPool()
    catalog = Catalog(pool.listed)
    roster = Roster(plugins, pool, catalog, log)
    try:
        unusable = roster.sync(loaded.config)
    except AuthFileError:
        if logins_needed:
            raise
        unusable = {}
    return Inspection(loaded, plugins, pool, catalog, roster, unusable)
