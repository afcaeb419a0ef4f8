"""Write events: the row and its share of the sums, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from operator import add as plus
from typing import Any

from cpa.usage.event import LONGEST_BODY, QUARTER_MS, Event, bucket, timestamp
from cpa.usage.schema import transaction
from cpa.usage.tables import PLACE, SUMS

_COLUMNS = (
    "event_key", "api_group_key", "provider", "endpoint", "auth_type", "request_id", "model", "requested_model",
    "timestamp", "ts_ms", "source", "auth_index", "failed", "latency_ms", "input_tokens", "output_tokens",
    "reasoning_tokens", "cached_tokens", "cache_read_tokens", "cache_creation_tokens", "total_tokens",
    "uncached_tokens", "cache_creation_1h_tokens", "attempt", "final", "status_code", "error_code", "fail_body",
    "ttft_ms", "stream", "client_format", "upstream_format", "estimated", "cost_nanos", "reasoning_effort",
    "service_tier", "user_agent", "created_at",
)  # fmt: skip
_EVENT = f"INSERT OR IGNORE INTO usage_events ({', '.join(_COLUMNS)}) VALUES "  # noqa: S608
_ROWS = (100, 10, 1)
"""How many rows one statement writes. Python hands its lock over at every statement, so many small ones would make the
event loop wait for its turn over and over."""
_GONE = "SELECT 1 FROM usage_event_keys WHERE event_key = ?"


def _adding(table: str, place: Sequence[str]) -> tuple[str, str]:
    """The two ends of a statement that adds sums to those that are there."""
    return (
        f"INSERT INTO {table} ({', '.join((*place, *SUMS))}) VALUES ",  # noqa: S608
        f" ON CONFLICT ({', '.join(place)}) DO UPDATE SET "
        + ", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS),
    )


_ROLLUP = _adding("usage_rollups", ("bucket_start", *PLACE))
_DAY = _adding("usage_days", ("day", *PLACE))
_QUARTER = _adding("usage_quarters", ("bucket_start", "failed"))

IMPOSSIBLE = (
    ArithmeticError,
    TypeError,
    ValueError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""What is raised for a value that no database takes, whatever the disk."""

_TOO_MUCH = "integer overflow"
"""What SQLite says of a sum that is no 64-bit number; the disk has nothing to do with it."""
_SUMS = f"""
SELECT ts_ms / 900000, {", ".join(PLACE)}, count(*), sum(max(latency_ms, 0)), sum(latency_ms > 0), sum(input_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(cached_tokens), sum(cache_read_tokens),
    sum(cache_creation_tokens), sum(total_tokens), sum(final), sum(coalesce(ttft_ms, 0)), count(ttft_ms),
    sum(coalesce(cost_nanos, 0)), count(cost_nanos), sum(CASE WHEN cost_nanos IS NULL THEN 0 ELSE total_tokens END)
FROM usage_events WHERE id > ? GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
"""  # noqa: S608
"""Place and sums of the events after one, in the order of the columns of ``usage_rollups``."""

Row = tuple[Any, ...]


def insert(connection: sqlite3.Connection, events: Sequence[Event], now_ms: int, *, old: bool = False) -> int:
    """Write events in one transaction; how many were new. Raises sqlite3.Error, and then none is written."""
    with transaction(connection):
        return add(connection, events, now_ms, old=old)


def add(connection: sqlite3.Connection, events: Sequence[Event], now_ms: int, *, old: bool = False) -> int:
    """Write events in the transaction that is open; how many were new. Raises sqlite3.Error.

    With ``old`` they may have been here once and have been pruned since: then they stay away.
    """
    created = timestamp(now_ms)
    if old:
        events = [event for event in events if connection.execute(_GONE, (event.event_key(),)).fetchone() is None]
    before = connection.execute("SELECT coalesce(max(id), 0) FROM usage_events").fetchone()[0]
    _write(connection, _EVENT, [_row(event, created) for event in events])
    return _add_up(connection, before)


def insert_possible(connection: sqlite3.Connection, events: Sequence[Event], now_ms: int, *, old: bool = False) -> int:
    """Write events in one transaction; without those that no database takes, if there are any. How many those were.

    Raises sqlite3.Error for every other fault.
    """
    try:
        insert(connection, events, now_ms, old=old)
    except (*IMPOSSIBLE, sqlite3.OperationalError) as fault:
        if isinstance(fault, sqlite3.OperationalError) and str(fault) != _TOO_MUCH:
            raise
        if len(events) == 1:
            return 1
        return sum(insert_possible(connection, [event], now_ms, old=old) for event in events)
    return 0


def _write(connection: sqlite3.Connection, start: str, rows: Sequence[Row], end: str = "") -> None:
    """Write rows of one width, many with each statement."""
    at = 0
    for size in _ROWS:
        if len(rows) - at >= size:
            marks = f"({', '.join('?' * len(rows[0]))})"
            statement = f"{start}{', '.join([marks] * size)}{end}"
        while len(rows) - at >= size:
            connection.execute(statement, list(chain.from_iterable(rows[at : at + size])))
            at += size


def _row(event: Event, created: str) -> Row:
    tokens = event.tokens
    return (
        event.event_key(), event.group, event.provider, event.endpoint, event.auth_type, event.request_id,
        event.model, event.requested_model, timestamp(event.at_ms), event.at_ms, event.source, event.auth_index,
        event.failed, event.latency_ms, tokens.input, tokens.output, tokens.reasoning, tokens.cached,
        tokens.cache_read, tokens.cache_creation, tokens.total, tokens.uncached, tokens.cache_creation_1h,
        event.attempt, event.final, event.status, event.error, event.fail_body[:LONGEST_BODY], event.ttft_ms,
        event.stream, event.client_format, event.upstream_format, event.estimated, event.cost_nanos,
        event.reasoning_effort, event.service_tier, event.user_agent, created,
    )  # fmt: skip


def _add_up(connection: sqlite3.Connection, after: int) -> int:
    """Add the events after one to the sums; how many they are."""
    fine: list[Row] = []
    days: dict[Row, Row] = {}
    quarters: dict[Row, Row] = {}
    for row in connection.execute(_SUMS, (after,)):
        start = bucket(row[0] * QUARTER_MS)
        place, sums = tuple(row[1 : 1 + len(PLACE)]), tuple(row[1 + len(PLACE) :])
        fine.append((start, *place, *sums))
        for coarse, name in ((days, (start[:10], *place)), (quarters, (start, place[-1]))):
            there = coarse.get(name)
            coarse[name] = sums if there is None else tuple(map(plus, there, sums))
    _write(connection, _ROLLUP[0], fine, _ROLLUP[1])
    for (start, end), each in ((_DAY, days), (_QUARTER, quarters)):
        _write(connection, start, [place + sums for place, sums in each.items()], end)
    return sum(sums[0] for sums in quarters.values())
