"""Counters of accounts go on after a restart where they were, as far as they are of the last 200 minutes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.accounts.recent import BUCKETS, RecentRequests
from cpa.exchange import counters
from cpa.exchange.counters import restore_counters
from cpa.usage.event import Event
from cpa.usage.insert import insert
from cpa.usage.outcomes import outcomes
from cpa.usage.schema import open_database
from cpa.usage.store import NotReady, UsageStore
from tests.usage.conftest import event

NOW = 1_770_000_599.0
"""At the end of ten minutes."""
MINUTE = 60_000


def ended(minutes_ago: float, **fields: Any) -> Event:
    """An attempt of account ``a`` that took a second and ended that long before NOW."""
    at_ms = int(NOW * 1000 - minutes_ago * MINUTE) - 1000
    fields = {"auth_index": "a", "latency_ms": 1000, "request_id": f"{minutes_ago}{fields}", **fields}
    return event(at_ms=at_ms, **fields)


def store_with(folder: Path, *events: Event) -> UsageStore:
    path = folder / "usage.sqlite"
    connection = open_database(path)
    insert(connection, events, int(NOW * 1000))
    connection.close()
    return UsageStore(path, structlog.get_logger(), lambda: 0)


async def restored(store: UsageStore) -> AccountPool:
    pool = AccountPool()
    for index in ("a", "b"):
        pool.put(Account(id=f"id-{index}", index=index, provider="claude"))
    try:
        await restore_counters(pool, store, structlog.get_logger(), NOW)
    finally:
        await asyncio.to_thread(store.close)
    return pool


def counted(pool: AccountPool, account_id: str = "id-a") -> tuple[int, int, list[tuple[int, int]]]:
    health = pool.health(account_id)
    buckets = [(each["success"], each["failed"]) for each in health.recent.shown(NOW)]
    return health.succeeded, health.failed, buckets


async def test_what_ended_lately_is_counted_in_its_ten_minutes(tmp_path: Path) -> None:
    store = store_with(
        tmp_path,
        ended(1),
        ended(2, failed=True, status=500),
        ended(12),
        ended(13),
        ended(195, failed=True, status=429),
        ended(30, auth_index="b"),
    )
    pool = await restored(store)
    succeeded, failed, buckets = counted(pool)
    assert (succeeded, failed) == (3, 2)
    assert (buckets[-1], buckets[-2], buckets[0]) == ((1, 1), (2, 0), (0, 1))
    assert counted(pool, "id-b")[:2] == (1, 0)


async def test_what_says_nothing_of_the_account_is_not_counted(tmp_path: Path) -> None:
    """A client that went away, a tool's row, requests without an account, what is older, and what came since."""
    store = store_with(
        tmp_path,
        ended(1, failed=True, status=499),
        ended(1, attempt=0, final=False),
        ended(1, auth_index=""),
        ended(1, auth_index="gone"),
        ended(201),
        ended(-5),
    )
    pool = await restored(store)
    assert counted(pool) == (0, 0, [(0, 0)] * BUCKETS)


async def test_an_attempt_counts_when_it_ended(tmp_path: Path) -> None:
    store = store_with(tmp_path, ended(190, latency_ms=30 * MINUTE))
    succeeded, _, buckets = counted(await restored(store))
    assert (succeeded, buckets[3]) == (1, (1, 0))


async def test_what_happened_before_they_are_known_is_added_to(tmp_path: Path) -> None:
    pool = AccountPool()
    pool.put(Account(id="id-a", index="a", provider="claude"))
    pool.succeed("id-a", "m")
    store = store_with(tmp_path, ended(1))
    await restore_counters(pool, store, structlog.get_logger(), NOW)
    await asyncio.to_thread(store.close)
    assert pool.health("id-a").succeeded == 2


async def test_without_a_record_they_begin_at_zero_and_none_is_made(tmp_path: Path) -> None:
    store = UsageStore(tmp_path / "usage.sqlite", structlog.get_logger(), lambda: 0)
    assert counted(await restored(store))[:2] == (0, 0)
    assert list(tmp_path.iterdir()) == []


async def test_a_record_that_cannot_be_read_yet_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "RETRY_SECONDS", 0.01)
    store = store_with(tmp_path, ended(1))
    ask, refusals = store.ask, [NotReady("not yet"), NotReady("not yet")]

    def busy(*arguments: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return ask(*arguments)

    monkeypatch.setattr(store, "ask", busy)
    assert counted(await restored(store))[0] == 1


async def test_a_damaged_record_costs_only_the_counters(tmp_path: Path) -> None:
    (tmp_path / "usage.sqlite").write_bytes(b"SQLite format 3\x00" + b"\xff" * 8000)
    store = UsageStore(tmp_path / "usage.sqlite", structlog.get_logger(), lambda: 0)
    assert counted(await restored(store))[:2] == (0, 0)


def test_many_attempts_are_few_rows(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "usage.sqlite")
    events = [ended(n % 200, request_id=str(n)) for n in range(4000)]
    insert(connection, events, int(NOW * 1000))
    began = time.perf_counter()
    rows = outcomes(connection, int(NOW * 1000) - 190 * MINUTE, int(NOW * 1000), 600_000)
    assert time.perf_counter() - began < 1
    assert len(rows) <= BUCKETS + 1
    connection.close()


def test_counts_older_than_the_oldest_bucket_overwrite_nothing() -> None:
    recent = RecentRequests()
    recent.note(True, NOW)
    recent.add(NOW - BUCKETS * 600, 5, 5)
    assert [(each["success"], each["failed"]) for each in recent.shown(NOW)][-1] == (1, 0)
