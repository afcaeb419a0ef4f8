"""Put the prices in force on attempts that were recorded before, a few at a time, and on their sums."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import Any

from msgspec import Struct, to_builtins

from cpa.usage.event import DAY_MS, QUARTER_MS, Event, bucket
from cpa.usage.places import state
from cpa.usage.price import usd
from cpa.usage.prices import PriceTable
from cpa.usage.tokens import SEPARATE_CACHE, Tokens

CHUNK = 500
"""Attempts of one transaction: some milliseconds, in which nothing else is written."""
LARGEST_COST = 1 << 53
"""Nano-dollars; more for one attempt is a mistake in a price, and stays out of the sums."""
_ATTEMPTS = """
SELECT a.id, a.ts_ms, a.failed, a.attempt, a.input_tokens, a.output_tokens, a.reasoning_tokens, a.cached_tokens,
    a.cache_read_tokens, a.cache_creation_tokens, a.total_tokens, a.uncached_tokens, a.cache_creation_1h_tokens,
    a.cost_nanos, coalesce(p.sums_id, p.id) AS place_id, p.api_group_key, p.provider, p.endpoint, p.model,
    p.requested_model, p.source, p.auth_index, p.upstream_format, p.reasoning_effort, p.service_tier,
    p.response_service_tier
FROM usage_attempts a CROSS JOIN usage_places p ON p.id = a.place_id
WHERE a.id > ? AND a.ts_ms >= ? AND a.total_tokens > 0 ORDER BY a.id LIMIT ?
"""
_ADD = "SET cost_nanos = cost_nanos + ?, priced_count = priced_count + ?, priced_tokens = priced_tokens + ?"
_SUMS = (
    f"UPDATE usage_sums {_ADD} WHERE bucket = ? AND place_id = ? AND failed = ?",
    f"UPDATE usage_day_sums {_ADD} WHERE day = ? AND place_id = ? AND failed = ?",
    f"UPDATE usage_quarters {_ADD} WHERE bucket_start = ? AND failed = ?",
)
_Difference = tuple[int, int, int]
"""Nano-dollars, attempts with a cost, and their tokens that a sum has to be more."""


class Revaluation(Struct):
    """What was looked at so far, and what became of it."""

    attempts: int = 0
    """Those that used tokens."""
    changed: int = 0
    unpriced: int = 0
    """Those without a cost, because their model has no price."""
    before_nanos: int = 0
    after_nanos: int = 0
    last_id: int = 0
    """Where to go on."""


def begin(connection: sqlite3.Connection, since_ms: int) -> Revaluation:
    """A revaluation of the attempts since a moment, Unix milliseconds."""
    query = "SELECT coalesce(min(id), 1) FROM usage_attempts WHERE ts_ms >= ?"
    first = connection.execute(query, (since_ms,)).fetchone()[0] if since_ms else 1
    return Revaluation(last_id=first - 1)


def go_on(
    connection: sqlite3.Connection, done: Revaluation, prices: PriceTable, since_ms: int, *, write: bool = True
) -> bool:
    """Look at some more attempts, in the transaction that is open; whether any were left. Raises sqlite3.Error.

    An attempt whose model has no price now keeps the cost it has. Without ``write`` nothing is changed.
    """
    rows = connection.execute(_ATTEMPTS, (done.last_id, since_ms, CHUNK)).fetchall()
    costs: list[tuple[int, int]] = []
    differences: dict[tuple[int, int, int], _Difference] = defaultdict(lambda: (0, 0, 0))
    for row in rows:
        before, after = row["cost_nanos"], prices.cost_of(event_of(row))
        if after is None or after >= LARGEST_COST:
            after = before
        done.before_nanos += before or 0
        done.after_nanos += after or 0
        done.unpriced += after is None
        if after is not None and after != before:
            costs.append((after, row["id"]))
            place = (row["ts_ms"] // QUARTER_MS, row["place_id"], row["failed"])
            nanos, count, tokens = differences[place]
            new = before is None
            differences[place] = (
                nanos + after - (before or 0),
                count + new,
                tokens + (row["total_tokens"] if new else 0),
            )
    if rows:
        done.last_id = rows[-1]["id"]
    done.attempts += len(rows)
    done.changed += len(costs)
    if write and costs:
        connection.executemany("UPDATE usage_attempts SET cost_nanos = ? WHERE id = ?", costs)
        _add_up(connection, differences)
    return len(rows) == CHUNK


def preview(connection: sqlite3.Connection, prices: PriceTable, since_ms: int) -> Revaluation:
    """What a revaluation would do; nothing is changed. Raises sqlite3.Error."""
    done = begin(connection, since_ms)
    while go_on(connection, done, prices, since_ms, write=False):
        pass
    return done


def shown(done: Revaluation, *, dry_run: bool) -> dict[str, Any]:
    """What was done, or would be, as JSON."""
    told: dict[str, Any] = to_builtins(done)
    del told["last_id"]
    return {**told, "before_usd": usd(done.before_nanos), "after_usd": usd(done.after_nanos), "preview": dry_run}


def _add_up(connection: sqlite3.Connection, differences: dict[tuple[int, int, int], _Difference]) -> None:
    hours_until = state(connection, "hours_until", 0)
    fine, days, quarters = _SUMS
    for (quarter, place, failed), more in differences.items():
        begins = quarter if quarter >= hours_until else quarter // 4 * 4
        connection.execute(fine, (*more, begins, place, failed))
        connection.execute(days, (*more, quarter * QUARTER_MS // DAY_MS, place, failed))
        connection.execute(quarters, (*more, bucket(quarter * QUARTER_MS), failed))


def event_of(row: Any) -> Event:
    """As much of an attempt as prices look at, from a row of attempts and places."""
    return Event(
        group=row["api_group_key"],
        provider=row["provider"],
        endpoint=row["endpoint"],
        model=row["model"],
        requested_model=row["requested_model"],
        source=row["source"],
        auth_index=row["auth_index"],
        attempt=row["attempt"],
        tokens=_tokens(row) if row["upstream_format"] else _foreign_tokens(row),
        upstream_format=row["upstream_format"],
        service_tier=row["service_tier"],
        response_service_tier=row["response_service_tier"],
        reasoning_effort=row["reasoning_effort"],
    )


def _tokens(row: Any) -> Tokens:
    read, written, uncached = row["cache_read_tokens"], row["cache_creation_tokens"], row["uncached_tokens"] or 0
    output, reasoning, total = row["output_tokens"], row["reasoning_tokens"], row["total_tokens"]
    return Tokens(
        output=output,
        reasoning=reasoning,
        cache_read=read,
        cache_creation=written,
        total=total,
        uncached=uncached,
        cache_creation_1h=row["cache_creation_1h_tokens"],
        unclassified=0 if uncached or read or written or output or reasoning else total,
    )


def _foreign_tokens(row: Any) -> Tokens:
    """Of an attempt that CLIProxyAPI recorded, which tells its vendor's counts only.

    Claude's input is without what a cache had; reasoning that makes the sum right only beside the output is beside it.
    """
    whole, output, reasoning = row["input_tokens"], row["output_tokens"], row["reasoning_tokens"]
    read, written, total = row["cache_read_tokens"], row["cache_creation_tokens"], row["total_tokens"]
    if not read and not written:
        read = row["cached_tokens"]
    uncached = whole if row["provider"] in SEPARATE_CACHE else max(0, whole - read - written)
    if uncached + read + written + output + reasoning == total:
        output += reasoning
    nothing = not (uncached or read or written or output)
    return Tokens(
        output=output,
        cache_read=read,
        cache_creation=written,
        total=total,
        uncached=uncached,
        unclassified=total if nothing else 0,
    )
