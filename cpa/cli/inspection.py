"""Build, without serving, what a configuration yields: plugins, accounts, models."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog
from msgspec import Struct

from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.config import Config, LoadedConfig, load_config
from cpa.exchange.roster import Roster
from cpa.plugins.manager import Plugins


class Inspection(Struct):
    """What a configuration yields."""

    loaded: LoadedConfig
    plugins: Plugins
    pool: AccountPool
    catalog: Catalog
    unusable_files: dict[str, str]
    """Auth files that cannot be used, with the reason."""

    @property
    def config(self) -> Config:
        return self.loaded.config


def inspect_config(path: Path, environ: Mapping[str, str] = os.environ) -> Inspection:
    """Read a configuration and derive its accounts and models. Raises ConfigError."""
    loaded = load_config(path, environ=environ)
    log = silent_log()
    plugins = Plugins(log)
    plugins.load(loaded.config)
    pool = AccountPool()
    catalog = Catalog(pool.listed)
    unusable = Roster(plugins, pool, catalog, log).sync(loaded.config)
    return Inspection(loaded, plugins, pool, catalog, unusable)


def silent_log() -> Any:
    """A logger for commands, which report themselves what matters to their user."""
    return structlog.wrap_logger(
        structlog.PrintLogger(), wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )
