"""Pages of events. Every function blocks: call it in a thread.

The sums tell how many events a filter finds in which quarter of an hour. So only those quarters are looked at that have
something for the page, whatever the number of rows, and events need no index but that of their time.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from typing import Any

from msgspec import Struct

from cpa.usage.event import DAY_MS, LATEST_MS, QUARTER_MS, shown_event
from cpa.usage.filters import EventFilter, event_conditions, sum_conditions
from cpa.usage.places import state
from cpa.usage.sums import bucket_range, summed


class _Window(Struct):
    """A range of time, both ends counting, and how many events of a filter are in it."""

    first_ms: int
    last_ms: int
    count: int
    quarters: bool = False
    """Whether it is made up of whole quarters of an hour."""


def events_page(connection: sqlite3.Connection, wanted: EventFilter) -> dict[str, Any]:
    """One page of events, the newest first, with what there is to filter by."""
    windows = _windows(connection, wanted)
    total = sum(window.count for window in windows)
    rows = _page(connection, wanted, windows)
    last = rows[-1] if len(rows) == wanted.page_size else None
    return {
        "events": [shown_event(row) for row in rows],
        **facets(connection, wanted.start_ms, wanted.end_ms),
        "total_count": total,
        "page": wanted.page,
        "page_size": wanted.page_size,
        "total_pages": -(-total // wanted.page_size),
        "next_cursor": f"{last['ts_ms']}.{last['id']}" if last is not None else "",
    }


def facets(connection: sqlite3.Connection, start_ms: int | None, end_ms: int | None) -> dict[str, list[str]]:
    """Models, accounts, their indices and clients within a range of time, to the quarter of an hour."""
    columns = ("model", "source", "auth_index", "api_group_key")
    table, values = summed(("place_id",), start_ms, end_ms)
    query = f"""
        SELECT DISTINCT {", ".join(columns)} FROM usage_places WHERE id IN (SELECT place_id FROM {table})"""  # noqa: S608
    rows = connection.execute(query, values).fetchall()
    names = ("models", "sources", "auth_indexes", "api_group_keys")
    return {
        name: sorted({row[column] for row in rows if row[column]}) for name, column in zip(names, columns, strict=True)
    }


def _windows(connection: sqlite3.Connection, wanted: EventFilter) -> list[_Window]:
    """Where events of a filter are: by day, the newest first; what is no whole quarter of an hour by itself."""
    oldest = connection.execute("SELECT min(ts_ms) FROM usage_attempts").fetchone()[0]
    if oldest is None:
        return []
    first = max(oldest, wanted.start_ms or 0)
    last = LATEST_MS if wanted.end_ms is None else wanted.end_ms
    hours_until = state(connection, "hours_until", 0)
    begin = -(-first // _step(first, hours_until)) * _step(first, hours_until)
    end = (last + 1) // _step(last + 1, hours_until) * _step(last + 1, hours_until)
    if wanted.request_id or wanted.status is not None or begin >= end:
        return [_counted(connection, wanted, first, last)]
    table, values = summed(("place_id", "failed", "request_count"), begin, end - 1)
    parts, more = sum_conditions(wanted)
    query = f"""
        SELECT day * {DAY_MS}, sum(request_count) FROM {table} WHERE {" AND ".join(["1", *parts])}
        GROUP BY 1 ORDER BY 1 DESC"""  # noqa: S608
    days = [
        _Window(max(begin, day), min(end, day + DAY_MS) - 1, count, quarters=True)
        for day, count in connection.execute(query, [*values, *more])
    ]
    tail = [_counted(connection, wanted, end, last)] if end <= last < LATEST_MS else []
    head = [_counted(connection, wanted, first, begin - 1)] if first < begin else []
    return tail + days + head


def _step(moment_ms: int, hours_until: int) -> int:
    """Milliseconds that are summed together at a moment."""
    return QUARTER_MS if moment_ms >= hours_until * QUARTER_MS else 4 * QUARTER_MS


def _counted(connection: sqlite3.Connection, wanted: EventFilter, first: int, last: int) -> _Window:
    where, values = event_conditions(wanted)
    query = f"SELECT count(*) FROM usage_events WHERE ts_ms BETWEEN ? AND ? AND {where}"  # noqa: S608
    return _Window(first, last, connection.execute(query, [first, last, *values]).fetchone()[0])


def _quarters(connection: sqlite3.Connection, wanted: EventFilter, day: _Window) -> list[_Window]:
    """A window of many quarters of an hour as one window for each that has something, the newest first."""
    parts, values = sum_conditions(wanted)
    where, times = bucket_range(day.first_ms, day.last_ms)
    query = f"""
        SELECT bucket * {QUARTER_MS}, sum(request_count) FROM usage_sums WHERE {" AND ".join([where, *parts])}
        GROUP BY 1 ORDER BY 1 DESC"""  # noqa: S608
    hours_until = state(connection, "hours_until", 0)
    return [
        _Window(start, start + _step(start, hours_until) - 1, count)
        for start, count in connection.execute(query, [*times, *values])
    ]


def _page(connection: sqlite3.Connection, wanted: EventFilter, windows: list[_Window]) -> list[sqlite3.Row]:
    where, values = event_conditions(wanted)
    skip = (wanted.page - 1) * wanted.page_size
    end = LATEST_MS
    if wanted.after_id is not None:
        where, values = f"{where} AND (ts_ms, id) < (?, ?)", [*values, wanted.after_ms, wanted.after_id]
        skip, end = 0, wanted.after_ms
    query = f"""
        SELECT * FROM usage_events WHERE ts_ms BETWEEN ? AND ? AND {where}
        ORDER BY ts_ms DESC, id DESC LIMIT ? OFFSET ?"""  # noqa: S608
    rows: list[sqlite3.Row] = []
    waiting = deque(windows)
    while waiting and len(rows) < wanted.page_size:
        window = waiting.popleft()
        if window.first_ms > end:
            continue
        if window.count <= skip:
            skip -= window.count
            continue
        if window.quarters:
            waiting.extendleft(reversed(_quarters(connection, wanted, window)))
            continue
        most = min(wanted.page_size - len(rows), window.count - skip)
        rows += connection.execute(query, [window.first_ms, min(window.last_ms, end), *values, most, skip]).fetchall()
        skip = 0
    return rows
