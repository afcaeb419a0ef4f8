"""Counters of accounts that a restart does not set back: they begin with what the durable record knows."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

from cpa.accounts.account import account_index
from cpa.accounts.pool import AccountPool
from cpa.accounts.recent import BUCKET_SECONDS, BUCKETS
from cpa.usage.outcomes import Outcome, outcomes
from cpa.usage.store import NotReady, UsageStore

RETRY_SECONDS = 2.0
"""How long to wait for a record that is being brought up to date."""


async def restore_counters(pool: AccountPool, usage: UsageStore, log: Any, before: float) -> None:
    """Count what happened in the last 200 minutes before ``before`` (Unix seconds), the start of this process."""
    end_ms = int(before * 1000)
    start_ms = (int(before) // BUCKET_SECONDS - BUCKETS + 1) * BUCKET_SECONDS * 1000
    nothing: list[Outcome] = []
    while True:
        try:
            known = await asyncio.to_thread(
                usage.ask, lambda found: outcomes(found, start_ms, end_ms, BUCKET_SECONDS * 1000), nothing
            )
            break
        except NotReady:
            await asyncio.sleep(RETRY_SECONDS)
        except sqlite3.Error as fault:
            log.warning("the counters of accounts begin at zero", reason=str(fault))
            return
    accounts = {account.index or account_index(f"id:{account.id}"): account.id for account in pool} if known else {}
    for outcome in known:
        if (account_id := accounts.get(outcome.auth_index)) is not None:
            pool.health(account_id).remember(outcome.at, outcome.succeeded, outcome.failed)
