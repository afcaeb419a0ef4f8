"""Write events: the row and its share of the sums, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from cpa.usage.event import LONGEST_BODY, Event, bucket, timestamp
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

Sums = dict[tuple[object, ...], list[int]]


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
    rows = [_row(event, created) for event in events]
    connection.execute("SAVEPOINT events")
    new: Sequence[Event] = events
    if _write(connection, _EVENT, rows) != len(rows):
        connection.execute("ROLLBACK TO events")
        new = [event for event, row in zip(events, rows, strict=True) if _write(connection, _EVENT, [row])]
    connection.execute("RELEASE events")
    _add_up(connection, new)
    return len(new)


def insert_possible(connection: sqlite3.Connection, events: Sequence[Event], now_ms: int, *, old: bool = False) -> int:
    """Write events in one transaction; without those that no database takes, if there are any. How many those were.

    Raises sqlite3.Error for every other fault.
    """
    try:
        insert(connection, events, now_ms, old=old)
    except IMPOSSIBLE:
        if len(events) == 1:
            return 1
        return sum(insert_possible(connection, [event], now_ms, old=old) for event in events)
    return 0


def _write(connection: sqlite3.Connection, start: str, rows: Sequence[tuple[object, ...]], end: str = "") -> int:
    """Write rows of one width, many with each statement; how many were written."""
    at = written = 0
    for size in _ROWS:
        marks = ", ".join([f"({', '.join('?' * len(rows[0]))})"] * size) if len(rows) - at >= size else ""
        while len(rows) - at >= size:
            values = [value for row in rows[at : at + size] for value in row]
            written += connection.execute(start + marks + end, values).rowcount
            at += size
    return written


def _row(event: Event, created: str) -> tuple[object, ...]:
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


def _add_up(connection: sqlite3.Connection, events: Iterable[Event]) -> None:
    """Add events to the sums. Most of a batch share their place, so the sums are made here first."""
    fine: Sums = {}
    for event in events:
        place: tuple[object, ...] = (
            bucket(event.at_ms), event.group, event.provider, event.endpoint, event.auth_type, event.model,
            event.source, event.auth_index, event.failed,
        )  # fmt: skip
        sums, share = fine.get(place), _share(event)
        fine[place] = share if sums is None else [a + b for a, b in zip(sums, share, strict=True)]
    days: Sums = {}
    quarters: Sums = {}
    for place, share in fine.items():
        for coarse, name in ((days, (str(place[0])[:10], *place[1:])), (quarters, (place[0], place[-1]))):
            sums = coarse.get(name)
            coarse[name] = share if sums is None else [a + b for a, b in zip(sums, share, strict=True)]
    for (start, end), each in ((_ROLLUP, fine), (_DAY, days), (_QUARTER, quarters)):
        _write(connection, start, [(*place, *sums) for place, sums in each.items()], end)


def _share(event: Event) -> list[int]:
    tokens, cost = event.tokens, event.cost_nanos
    return [
        1, max(event.latency_ms, 0), int(event.latency_ms > 0), tokens.input, tokens.output, tokens.reasoning,
        tokens.cached, tokens.cache_read, tokens.cache_creation, tokens.total, int(event.final), event.ttft_ms or 0,
        int(event.ttft_ms is not None), cost or 0, int(cost is not None), tokens.total if cost is not None else 0,
    ]  # fmt: skip
