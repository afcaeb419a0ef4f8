"""Pages of events. Every function blocks: call it in a thread.

How many events there are is known from the sums, whatever the number of rows; pages are read along the index that
leads to their rows most directly.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from cpa.usage.event import DAY_MS, LATEST_MS, QUARTER_MS, shown_event
from cpa.usage.filters import EventFilter, conditions
from cpa.usage.sums import summed
from cpa.usage.tables import PLACE

MOST_LANES = 8
"""Accounts or models that are looked up one by one; beyond that all events are gone through."""
CHUNK = 1000


class _Found(Struct):
    """How many events a filter finds, and between which times all of them are."""

    total: int
    first_ms: int = 0
    last_ms: int = LATEST_MS


def events_page(connection: sqlite3.Connection, wanted: EventFilter) -> dict[str, Any]:
    """One page of events, the newest first, with what there is to filter by."""
    found = _find(connection, wanted)
    rows = _page(connection, wanted, found)
    last = rows[-1] if len(rows) == wanted.page_size else None
    return {
        "events": [shown_event(row) for row in rows],
        **facets(connection, wanted.start_ms, wanted.end_ms),
        "total_count": found.total,
        "page": wanted.page,
        "page_size": wanted.page_size,
        "total_pages": -(-found.total // wanted.page_size),
        "next_cursor": f"{last['ts_ms']}.{last['id']}" if last is not None else "",
    }


def facets(connection: sqlite3.Connection, start_ms: int | None, end_ms: int | None) -> dict[str, list[str]]:
    """Models, accounts, their indices and clients within a range of time, to the quarter of an hour."""
    columns = ("model", "source", "auth_index", "api_group_key")
    table, values = summed(columns, start_ms, end_ms)
    rows = connection.execute(f"SELECT DISTINCT {', '.join(columns)} FROM {table}", values).fetchall()  # noqa: S608
    names = ("models", "sources", "auth_indexes", "api_group_keys")
    return {
        name: sorted({row[column] for row in rows if row[column]}) for name, column in zip(names, columns, strict=True)
    }


def every_event(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[sqlite3.Row]:
    """All events of a filter, the oldest first. Read a few at a time, so that writing is not held up meanwhile."""
    parts, values = conditions(wanted)
    if wanted.request_id:
        parts.append("request_id = ?")
        values.append(wanted.request_id)
    if wanted.status is not None:
        parts.append("status_code = ?")
        values.append(wanted.status)
    where = " AND ".join(["(ts_ms, id) > (?, ?)", "ts_ms <= ?", *parts])
    query = f"SELECT * FROM usage_events WHERE {where} ORDER BY ts_ms, id LIMIT {CHUNK}"  # noqa: S608
    at = (-1 if wanted.start_ms is None else wanted.start_ms - 1, LATEST_MS)
    end = LATEST_MS if wanted.end_ms is None else wanted.end_ms
    while rows := connection.execute(query, [*at, end, *values]).fetchall():
        yield from rows
        at = (rows[-1]["ts_ms"], rows[-1]["id"])


def _find(connection: sqlite3.Connection, wanted: EventFilter) -> _Found:
    oldest = connection.execute("SELECT min(ts_ms) FROM usage_events").fetchone()[0]
    if oldest is None:
        return _Found(0)
    first = max(oldest, wanted.start_ms or 0)
    last = LATEST_MS if wanted.end_ms is None else wanted.end_ms
    if wanted.request_id or wanted.status is not None:
        return _Found(_count(connection, wanted, first, last), first, last)
    begin, end = -(-first // QUARTER_MS) * QUARTER_MS, (last + 1) // QUARTER_MS * QUARTER_MS
    if begin >= end:
        return _Found(_count(connection, wanted, first, last), first, last)
    head = _count(connection, wanted, first, begin - 1) if first < begin else 0
    tail = _count(connection, wanted, end, last) if end <= last < LATEST_MS else 0
    table, values = summed((*PLACE, "request_count"), begin, end - 1)
    parts, more = conditions(wanted)
    where = f"WHERE {' AND '.join(parts)}" if parts else ""
    query = f"SELECT coalesce(sum(request_count), 0), min(day), max(day) FROM {table} {where}"  # noqa: S608
    middle, first_day, last_day = connection.execute(query, [*values, *more]).fetchone()
    found = _Found(head + middle + tail, first, last)
    if middle and not head:
        found.first_ms = max(first, _day_ms(first_day))
    if middle and not tail:
        found.last_ms = min(last, _day_ms(last_day) + DAY_MS - 1)
    return found


def _count(connection: sqlite3.Connection, wanted: EventFilter, first: int, last: int) -> int:
    where, values = _where(wanted, first, last)
    return int(connection.execute(f"SELECT count(*) FROM usage_events WHERE {where}", values).fetchone()[0])  # noqa: S608


def _where(wanted: EventFilter, first: int, last: int, lane: str = "") -> tuple[str, list[Any]]:
    """A condition for events of a time; the columns of a ``+`` are looked at, but lead to no index."""
    parts, values = conditions(wanted)
    if lane:
        parts = [_unindexed(part) for part in parts]
    parts += ["ts_ms >= ?", "ts_ms <= ?"]
    values += [first, last]
    if wanted.request_id:
        parts.append("request_id = ?")
        values.append(wanted.request_id)
    if wanted.status is not None:
        parts.append("status_code = ?")
        values.append(wanted.status)
    return " AND ".join(parts), values


def _unindexed(part: str) -> str:
    return part if part == "failed = 1" else part.replace("(", "(+", 1) if part.startswith("(") else f"+{part}"


def _page(connection: sqlite3.Connection, wanted: EventFilter, found: _Found) -> list[sqlite3.Row]:
    offset = 0 if wanted.after_id is not None else (wanted.page - 1) * wanted.page_size
    most = min(wanted.page_size, found.total - offset)
    if most <= 0:
        return []
    lanes = _lanes(connection, wanted)
    where, values = _where(wanted, found.first_ms, found.last_ms, "lane")
    if wanted.after_id is not None:
        where += " AND (ts_ms, id) < (?, ?)"
        values += [wanted.after_ms, wanted.after_id]
    parts, all_values = [], []
    for condition, value in lanes:
        parts.append(
            f"SELECT * FROM (SELECT id, ts_ms FROM usage_events WHERE {condition} AND {where} "  # noqa: S608
            "ORDER BY ts_ms DESC, id DESC LIMIT ?)"
        )
        all_values += [*value, *values, offset + most]
    query = (
        f"SELECT * FROM usage_events WHERE id IN (SELECT id FROM ({' UNION ALL '.join(parts)}) "  # noqa: S608
        "ORDER BY ts_ms DESC, id DESC LIMIT ? OFFSET ?) ORDER BY ts_ms DESC, id DESC"
    )
    return connection.execute(query, [*all_values, most, offset]).fetchall()


def _lanes(connection: sqlite3.Connection, wanted: EventFilter) -> list[tuple[str, tuple[str, ...]]]:
    """Conditions whose index gives events in the order of their time; together they lead to every event wanted."""
    if wanted.request_id or wanted.failed or (wanted.status or 0) >= 400:
        return [("1", ())]
    for column, names in (
        ("auth_index", (wanted.auth_index,) if wanted.auth_index else ()),
        ("auth_index", _indices(connection, wanted.source) if wanted.source else ()),
        ("api_group_key", (wanted.group,) if wanted.group else ()),
        ("model", tuple(dict.fromkeys(wanted.models))),
    ):
        if 0 < len(names) <= MOST_LANES:
            return [(f"{column} = ?", (name,)) for name in names]
    return [("1", ())]


def _indices(connection: sqlite3.Connection, source: str) -> tuple[str, ...]:
    query = "SELECT DISTINCT auth_index FROM usage_days WHERE source = ? OR auth_index = ? OR provider = ?"
    return tuple(row[0] for row in connection.execute(query, [source] * 3))


def _day_ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
