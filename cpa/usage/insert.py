"""Write events: the row, its key and its share of the quarter-hour sums, all or nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import TypeVar

from cpa.usage.event import LONGEST_BODY, Event, bucket, timestamp

Item = TypeVar("Item")

_EVENT_COLUMNS = (
    "event_key", "api_group_key", "provider", "endpoint", "auth_type", "request_id", "model", "requested_model",
    "timestamp", "ts_ms", "source", "auth_index", "failed", "latency_ms", "input_tokens", "output_tokens",
    "reasoning_tokens", "cached_tokens", "cache_read_tokens", "cache_creation_tokens", "total_tokens",
    "uncached_tokens", "cache_creation_1h_tokens", "attempt", "final", "status_code", "error_code", "fail_body",
    "ttft_ms", "stream", "client_format", "upstream_format", "estimated", "cost_nanos", "created_at",
)  # fmt: skip
_KEYS = "INSERT OR IGNORE INTO usage_event_keys (event_key, created_at) VALUES "
_EVENTS = f"INSERT OR IGNORE INTO usage_events ({', '.join(_EVENT_COLUMNS)}) VALUES "  # noqa: S608
_ROWS = (100, 10, 1)
"""How many rows one statement writes. Python hands its lock over at every statement, so many small ones would make the
event loop wait for its turn over and over."""
_PLACE = (
    "bucket_start",
    "api_group_key",
    "provider",
    "endpoint",
    "auth_type",
    "model",
    "source",
    "auth_index",
    "failed",
)
_SUMS = (
    "request_count", "latency_total_ms", "latency_sample_count", "input_tokens", "output_tokens", "reasoning_tokens",
    "cached_tokens", "cache_read_tokens", "cache_creation_tokens", "total_tokens", "final_count", "ttft_total_ms",
    "ttft_sample_count", "cost_nanos", "priced_count",
)  # fmt: skip
_ROLLUP = (
    f"INSERT INTO usage_rollups ({', '.join(_PLACE + _SUMS)}) "  # noqa: S608
    f"VALUES ({', '.join('?' * len(_PLACE + _SUMS))}) ON CONFLICT ({', '.join(_PLACE)}) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in _SUMS)
)


def insert(connection: sqlite3.Connection, events: Iterable[Event], now_ms: int) -> int:
    """Write events in one transaction; how many were new. Raises sqlite3.Error, and then none is written."""
    created = timestamp(now_ms)
    keyed = {event.event_key(): event for event in events}
    rollups: dict[tuple[object, ...], list[int]] = {}
    connection.execute("BEGIN IMMEDIATE")
    try:
        for key in _known(connection, list(keyed)):
            del keyed[key]
        _write(connection, _KEYS, [(key, created) for key in keyed])
        _write(connection, _EVENTS, [_row(event, key, created) for key, event in keyed.items()])
        for event in keyed.values():
            sums = rollups.setdefault(_place(event), [0] * len(_SUMS))
            for index, value in enumerate(_share(event)):
                sums[index] += value
        connection.executemany(_ROLLUP, [(*place, *sums) for place, sums in rollups.items()])
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return len(keyed)


def _known(connection: sqlite3.Connection, keys: list[str]) -> list[str]:
    """Those of some keys that were written before."""
    found: list[str] = []
    for chunk in _chunks(keys):
        marks = ", ".join("?" * len(chunk))
        query = f"SELECT event_key FROM usage_event_keys WHERE event_key IN ({marks})"  # noqa: S608
        found += [row[0] for row in connection.execute(query, chunk)]
    return found


def _write(connection: sqlite3.Connection, statement: str, rows: list[tuple[object, ...]]) -> None:
    """Write rows of one width, many with each statement."""
    for chunk in _chunks(rows):
        marks = f"({', '.join('?' * len(chunk[0]))})"
        connection.execute(statement + ", ".join([marks] * len(chunk)), [value for row in chunk for value in row])


def _chunks(items: list[Item]) -> Iterator[list[Item]]:
    """Pieces of few different sizes, so that their statements are prepared once."""
    at = 0
    for size in _ROWS:
        while len(items) - at >= size:
            yield items[at : at + size]
            at += size


def _row(event: Event, key: str, created: str) -> tuple[object, ...]:
    tokens = event.tokens
    return (
        key, event.group, event.provider, event.endpoint, event.auth_type, event.request_id, event.model,
        event.requested_model, timestamp(event.at_ms), event.at_ms, event.source, event.auth_index, int(event.failed),
        event.latency_ms, tokens.input, tokens.output, tokens.reasoning, tokens.cached, tokens.cache_read,
        tokens.cache_creation, tokens.total, tokens.uncached, tokens.cache_creation_1h, event.attempt,
        int(event.final), event.status, event.error, event.fail_body[:LONGEST_BODY], event.ttft_ms, int(event.stream),
        event.client_format, event.upstream_format, int(event.estimated), event.cost_nanos, created,
    )  # fmt: skip


def _place(event: Event) -> tuple[object, ...]:
    return (
        bucket(event.at_ms), event.group, event.provider, event.endpoint, event.auth_type, event.model, event.source,
        event.auth_index, int(event.failed),
    )  # fmt: skip


def _share(event: Event) -> tuple[int, ...]:
    tokens, timed = event.tokens, event.latency_ms > 0
    return (
        1, max(event.latency_ms, 0), int(timed), tokens.input, tokens.output, tokens.reasoning, tokens.cached,
        tokens.cache_read, tokens.cache_creation, tokens.total, int(event.final), event.ttft_ms or 0,
        int(event.ttft_ms is not None), event.cost_nanos or 0, int(event.cost_nanos is not None),
    )  # fmt: skip
