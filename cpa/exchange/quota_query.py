"""Ask vendors how much of an account's allowance is used: seldom, and never so that a request waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.accounts.quota import QuotaWindow
from cpa.errors import PluginError, UpstreamError
from cpa.exchange.renewal import Renewals
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import HttpClient, Provider

SHORTEST_INTERVAL = 300.0
"""Seconds between two questions about one account."""
REFUSED_INTERVAL = 4 * 3600.0
"""Seconds after the vendor refused the credential or wants to be paid."""
FAILED_INTERVAL = 1200.0
"""Seconds after any other failure."""
AT_ONCE = 4
LOOK_AGAIN = 60.0
"""Seconds between two looks which accounts are to be asked about."""


class Asked(Struct, frozen=True):
    """What became of the last question about an account."""

    windows: list[QuotaWindow] | None
    """None when the vendor gave none."""
    at: float
    """Unix seconds."""
    not_before: float
    """When it may be asked again."""
    error: str = ""

    def holds(self, now: float) -> bool:
        """Whether it is too early to ask again; not so when the clock was set back since."""
        return self.at <= now < self.not_before


class QuotaQueries:
    """Questions about quota, one at a time for each account. Answers go to the pool, too. ``wall``: Unix seconds."""

    def __init__(
        self,
        *,
        pool: AccountPool,
        plugins: Plugins,
        renewals: Renewals,
        http: HttpClient,
        log: Any,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._pool = pool
        self._plugins = plugins
        self._renewals = renewals
        self._http = http
        self._log = log
        self._wall = wall
        self._asked: dict[str, Asked] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    def last(self, account_id: str) -> Asked | None:
        """What became of the last question; None when there was none."""
        return self._asked.get(account_id)

    async def ask(self, account_id: str) -> Asked | None:
        """The windows as the vendor tells them now, or told them less than five minutes ago.

        None for an account that is gone or disabled. Never raises for what the vendor does.
        """
        lock = self._locks.setdefault(account_id, asyncio.Lock())
        async with lock, self._slots:
            account = self._pool.get(account_id)
            if account is None or account.disabled:
                self._forget(account_id)
                return None
            known = self._asked.get(account_id)
            if known is not None and known.holds(self._wall()):
                return known
            asked = self._asked[account_id] = await self._ask(account)
            if asked.windows:
                self._pool.note_quota(account_id, asked.windows)
            return asked

    async def run(self, wanted: Callable[[], bool]) -> None:
        """While ``wanted`` keep the windows of all logins known, until cancelled."""
        while True:
            self._pool.heed_clock()
            for account_id in [known for known in self._locks if self._pool.get(known) is None]:
                self._forget(account_id)
            if wanted():
                logins = [account.id for account in self._pool if account.kind == "oauth" and not account.disabled]
                await asyncio.gather(*(self.ask(account_id) for account_id in logins if self._is_due(account_id)))
            await asyncio.sleep(LOOK_AGAIN)

    def _is_due(self, account_id: str) -> bool:
        """Whether nothing was heard of an account lately; its own answers may have told."""
        now = self._wall()
        known = self._asked.get(account_id)
        if known is not None and known.holds(now):
            return False
        return all(window.seen_at + SHORTEST_INTERVAL <= now for window in self._pool.quota(account_id))

    async def _ask(self, account: Account) -> Asked:
        now = self._wall()
        try:
            provider = self._plugins.provider_of(account)
            windows = await self._query(provider, account)
        except UpstreamError as fault:
            status = fault.error.status
            wait = REFUSED_INTERVAL if status in (401, 402, 403) else FAILED_INTERVAL
            wait = max(fault.error.retry_after or 0.0, SHORTEST_INTERVAL if status == 429 else wait)
            self._log.info("quota not known", account=account.id, reason=fault.error.message)
            return Asked(None, now, now + wait, fault.error.message)
        except PluginError as fault:
            return Asked(None, now, now + FAILED_INTERVAL, str(fault))
        except Exception as fault:
            self._log.exception("provider cannot tell the quota", account=account.id)
            return Asked(None, now, now + FAILED_INTERVAL, type(fault).__name__)
        return Asked(windows, now, now + SHORTEST_INTERVAL)

    async def _query(self, provider: Provider, account: Account) -> list[QuotaWindow] | None:
        """Ask, and once more with a new token when the one there is was refused."""
        account = await self._renewals.ready(account)
        try:
            return await provider.query_quota(account, self._http)
        except UpstreamError as refused:
            renewed = await self._renewals.renew(account) if refused.error.status == 401 else None
            if renewed is None:
                raise
            return await provider.query_quota(renewed, self._http)

    def _forget(self, account_id: str) -> None:
        self._asked.pop(account_id, None)
        self._locks.pop(account_id, None)
