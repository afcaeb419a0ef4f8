"""What the daemon would do with accounts, done by a command while no daemon runs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from cpa.accounts.files import AuthDirectory
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.cli.quiet import Quiet
from cpa.config import Config, load_config
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.exchange import Exchange
from cpa.exchange.limits import ClientLimits
from cpa.exchange.quota_query import QuotaQueries
from cpa.exchange.renewal import Renewals
from cpa.exchange.roster import Roster
from cpa.exchange.trial import Trials
from cpa.formats.registry import builtin_formats
from cpa.plugins.manager import Plugins
from cpa.upstream.client import UpstreamClient
from cpa.usage.prices import CurrentPrices


class Standalone(Struct):
    """The parts that talk to upstreams. Tokens that are renewed are written to the auth directory."""

    config: Config
    plugins: Plugins
    pool: AccountPool
    client: UpstreamClient
    trials: Trials
    quota_queries: QuotaQueries


@asynccontextmanager
async def standalone(path: Path, environ: Mapping[str, str] = os.environ) -> AsyncIterator[Standalone]:
    """Build the parts from a configuration file and take them down again. Raises ConfigError."""
    config = load_config(path, environ=environ).config
    log = Quiet()
    plugins = Plugins(log)
    plugins.load(config)
    formats = builtin_formats()
    plugins.add_formats(formats)
    pool = AccountPool()
    catalog = Catalog(pool.listed)
    roster = Roster(plugins, pool, catalog, log)
    files = AuthFiles(AuthDirectory(Path(config.auth_dir)), roster, log)
    client = UpstreamClient(lambda: config.proxy_url, environ)
    renewals = Renewals(files=files, roster=roster, plugins=plugins, http=client, log=log)
    exchange = Exchange(
        plugins=plugins,
        formats=formats,
        pool=pool,
        catalog=catalog,
        client=client,
        renewals=renewals,
        limits=ClientLimits(CurrentPrices(lambda: config)),
        log=log,
    )
    roster.apply_config(config)
    await files.load()
    while roster.settle(1000):
        pass
    try:
        yield Standalone(
            config,
            plugins,
            pool,
            client,
            Trials(exchange, pool, catalog, renewals),
            QuotaQueries(pool=pool, plugins=plugins, renewals=renewals, http=client, log=log),
        )
    finally:
        await renewals.stop()
        await client.close()
