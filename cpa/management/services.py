"""What the management API needs of the rest of the daemon."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.config import Config, ConfigStore
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.exchange import Exchange
from cpa.exchange.histories import Histories
from cpa.exchange.limits import ClientLimits
from cpa.exchange.login_sessions import LoginSessions
from cpa.exchange.price_sync import PriceSync
from cpa.exchange.quota_query import QuotaQueries
from cpa.exchange.renewal import Renewals
from cpa.exchange.roster import Roster
from cpa.logs import LogFiles
from cpa.management.access import Gate
from cpa.management.writing import ConfigWriter
from cpa.plugins.manager import Plugins
from cpa.upstream.client import UpstreamClient
from cpa.usage.prices import CurrentPrices
from cpa.usage.store import UsageStore
from cpa.usage.usage_queue import UsageQueue


class Management(Struct, kw_only=True):
    """Handed to every resource once."""

    store: ConfigStore
    writer: ConfigWriter
    gate: Gate
    pool: AccountPool
    roster: Roster
    auth_files: AuthFiles
    catalog: Catalog
    plugins: Plugins
    client: UpstreamClient
    log_files: LogFiles
    logins: LoginSessions
    usage: UsageStore
    usage_queue: UsageQueue
    limits: ClientLimits
    prices: CurrentPrices
    price_sync: PriceSync
    log: Any
    renewals: Renewals | None = None
    """How logins are kept alive; None where nothing refreshes them."""
    exchange: Exchange | None = None
    """Answers requests; None where nothing is served."""
    histories: Histories | None = None
    """Keeps request histories; None where none are kept."""
    quota_queries: QuotaQueries | None = None
    """Asks vendors for quota windows; None where nobody is asked."""

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self.store.current
