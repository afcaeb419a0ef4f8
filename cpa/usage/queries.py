"""Pages of events. Every function blocks: call it in a thread, on a connection that has begun a transaction.

How many events a filter finds, and where a page of them begins, the sums tell; only what they do not tell is counted:
of those with the usual status, all others.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from typing import Any

import orjson
from msgspec import Struct

from cpa.usage.event import DAY_MS, LATEST_MS, QUARTER_MS, shown_event
from cpa.usage.filters import EventFilter
from cpa.usage.places import state
from cpa.usage.search import Search, Stretch
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
    search = Search(connection, wanted)
    if wanted.is_unusual or wanted.request_id or wanted.latency_ms:
        total, numbers = search.page(wanted.page_size, _skipped(wanted))
    else:
        total, numbers = _by_sums(connection, wanted, search)
    rows = _events(connection, numbers)
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


def _by_sums(connection: sqlite3.Connection, wanted: EventFilter, search: Search) -> tuple[int, list[int]]:
    """How many events there are, and the numbers of those of a page, where the sums tell that."""
    windows, skip = _windows(connection, wanted, search), _skipped(wanted)
    total, waiting = sum(window.count for window in windows), deque(windows)
    while waiting:
        window = waiting.popleft()
        if window.count <= skip:
            skip -= window.count
        elif skip and window.quarters:
            waiting.extendleft(reversed(_quarters(connection, wanted, search, window)))
        else:
            return total, search.newest(wanted.page_size, skip, window.last_ms)
    return total, []


def _skipped(wanted: EventFilter) -> int:
    """How many events come before the page."""
    return 0 if wanted.before is not None else (wanted.page - 1) * wanted.page_size


def _windows(connection: sqlite3.Connection, wanted: EventFilter, search: Search) -> list[_Window]:
    """Where events of a filter are: by day, the newest first; what is no whole quarter of an hour by itself."""
    first = search.span.first_ms
    last = LATEST_MS if wanted.end_ms is None else wanted.end_ms
    if search.span.last_ms < first:
        return []
    hours_until = state(connection, "hours_until", 0)
    begin = -(-first // _step(first, hours_until)) * _step(first, hours_until)
    end = (last + 1) // _step(last + 1, hours_until) * _step(last + 1, hours_until)
    if begin >= end:
        return [_counted(search, first, last)]
    table, values = summed(("place_id", "failed", "request_count"), begin, end - 1)
    query = f"""
        SELECT day * {DAY_MS}, sum(request_count) FROM {table} WHERE {search.sums}
        GROUP BY 1 ORDER BY 1 DESC"""  # noqa: S608
    days = [
        _Window(max(begin, day), min(end, day + DAY_MS) - 1, count, quarters=True)
        for day, count in connection.execute(query, [*values, *search.sum_values])
    ]
    _leave_out_unusual(wanted, search, days, DAY_MS)
    tail = [_counted(search, end, last)] if end <= last < LATEST_MS else []
    head = [_counted(search, first, begin - 1)] if first < begin else []
    return tail + days + head


def _step(moment_ms: int, hours_until: int) -> int:
    """Milliseconds that are summed together at a moment."""
    return QUARTER_MS if moment_ms >= hours_until * QUARTER_MS else 4 * QUARTER_MS


def _counted(search: Search, first: int, last: int) -> _Window:
    return _Window(first, last, search.count(stretches=[Stretch(first, last)]))


def _quarters(connection: sqlite3.Connection, wanted: EventFilter, search: Search, day: _Window) -> list[_Window]:
    """A window of many quarters of an hour as one window for each that has something, the newest first."""
    where, times = bucket_range(day.first_ms, day.last_ms)
    query = f"""
        SELECT bucket * {QUARTER_MS}, sum(request_count) FROM usage_sums WHERE {where} AND {search.sums}
        GROUP BY 1 ORDER BY 1 DESC"""  # noqa: S608
    hours_until = state(connection, "hours_until", 0)
    found = [
        _Window(start, start + _step(start, hours_until) - 1, count)
        for start, count in connection.execute(query, [*times, *search.sum_values])
    ]
    _leave_out_unusual(wanted, search, found, QUARTER_MS)
    return found


def _leave_out_unusual(wanted: EventFilter, search: Search, windows: list[_Window], unit_ms: int) -> None:
    """Sums know no status. Windows, the newest first, are made up of units of time, or of a part of one."""
    if wanted.status is None or not windows:
        return
    others = search.unusual(Stretch(windows[-1].first_ms, windows[0].last_ms), unit_ms)
    for window in windows:
        units = range(window.first_ms // unit_ms, window.last_ms // unit_ms + 1)
        window.count = max(window.count - sum(others.get(unit, 0) for unit in units), 0)


def _events(connection: sqlite3.Connection, numbers: list[int]) -> list[sqlite3.Row]:
    """The events of some numbers, in their order."""
    query = "SELECT * FROM usage_events WHERE id IN (SELECT value FROM json_each(?))"
    rows = {row["id"]: row for row in connection.execute(query, [orjson.dumps(numbers).decode()])}
    return [rows[number] for number in numbers]
