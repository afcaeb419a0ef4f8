"""What is asked of the usage database. Every function blocks: call it in a thread."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from cpa.errors import CpaError
from cpa.usage.event import bucket, parse_timestamp, shown_event, shown_tokens

LARGEST_PAGE = 1000
MOST_DETAILS = 1000
"""Detail rows given for each model."""
_MILLISECONDS_FROM = 10_000_000_000


class WrongQuery(CpaError):
    """A parameter cannot be used; the text says which."""


class EventFilter(Struct, kw_only=True):
    """Which events are wanted. Times are Unix milliseconds, both ends count."""

    page: int = 1
    page_size: int = 100
    start_ms: int | None = None
    end_ms: int | None = None
    models: tuple[str, ...] = ()
    source: str = ""
    auth_index: str = ""
    provider: str = ""
    group: str = ""
    request_id: str = ""
    failed: bool | None = None
    after_id: int | None = None
    """Only events before this one, which a cursor names."""
    after_ms: int = 0


def parse_filter(query: Mapping[str, str], models: tuple[str, ...] = ()) -> EventFilter:
    """Read a filter from query parameters. Raises WrongQuery."""
    result = _first(query, "result").lower()
    if result not in ("", "success", "failed"):
        raise WrongQuery("result must be success or failed")
    found = EventFilter(
        page=_positive(query, "page must be a positive integer", 1, "page"),
        page_size=min(
            _positive(query, "page_size must be a positive integer", 100, "page_size", "pageSize", "limit"),
            LARGEST_PAGE,
        ),
        start_ms=_moment(query, "invalid start_time", "start_time", "start", "from"),
        end_ms=_moment(query, "invalid end_time", "end_time", "end", "to"),
        models=tuple(model.strip() for model in models if model.strip()),
        source=_first(query, "source"),
        auth_index=_first(query, "auth_index", "authIndex"),
        provider=_first(query, "provider"),
        group=_first(query, "api_group_key", "client"),
        request_id=_first(query, "request_id"),
        failed=None if not result else result == "failed",
    )
    if cursor := _first(query, "cursor"):
        ms, _, identity = cursor.partition(".")
        if not (ms.isdigit() and identity.isdigit()):
            raise WrongQuery("invalid cursor")
        found.after_ms, found.after_id = int(ms), int(identity)
    return found


def events_page(connection: sqlite3.Connection, wanted: EventFilter) -> dict[str, Any]:
    """One page of events, the newest first, with what there is to filter by."""
    where, values = _where(wanted)
    total = connection.execute(f"SELECT count(*) FROM usage_events {where}", values).fetchone()[0]  # noqa: S608
    rows = _page(connection, wanted)
    last = rows[-1] if len(rows) == wanted.page_size else None
    return {
        "events": [shown_event(row) for row in rows],
        **filters(connection, wanted.start_ms, wanted.end_ms),
        "total_count": total,
        "page": wanted.page,
        "page_size": wanted.page_size,
        "total_pages": -(-total // wanted.page_size),
        "next_cursor": f"{last['ts_ms']}.{last['id']}" if last is not None else "",
    }


def _page(connection: sqlite3.Connection, wanted: EventFilter) -> list[sqlite3.Row]:
    where, values = _where(wanted, cursor=True)
    offset = 0 if wanted.after_id is not None else (wanted.page - 1) * wanted.page_size
    return connection.execute(
        f"SELECT * FROM usage_events {where} ORDER BY ts_ms DESC, id DESC LIMIT ? OFFSET ?",  # noqa: S608
        [*values, wanted.page_size, offset],
    ).fetchall()


def every_event(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[sqlite3.Row]:
    """All events of a filter, the oldest first, a few at a time."""
    where, values = _where(wanted)
    yield from connection.execute(f"SELECT * FROM usage_events {where} ORDER BY ts_ms, id", values)  # noqa: S608


def filters(connection: sqlite3.Connection, start_ms: int | None, end_ms: int | None) -> dict[str, list[str]]:
    """Models, accounts and their indices within a range of time, to the quarter of an hour."""
    where, values = _bucket_range(start_ms, end_ms)

    def distinct(column: str) -> list[str]:
        query = f"SELECT DISTINCT {column} FROM usage_rollups {where} ORDER BY 1"  # noqa: S608
        return [row[0] for row in connection.execute(query, values) if row[0]]

    return {"models": distinct("model"), "sources": distinct("source"), "auth_indexes": distinct("auth_index")}


def overview(
    connection: sqlite3.Connection, start_ms: int | None = None, end_ms: int | None = None, *, details: bool = True
) -> dict[str, Any]:
    """Totals by client and model, by day and by hour (local time), from the sums per quarter of an hour."""
    where, values = _bucket_range(start_ms, end_ms)
    usage: dict[str, Any] = {
        "total_requests": 0,
        "success_count": 0,
        "failure_count": 0,
        "total_tokens": 0,
        "apis": {},
        "requests_by_day": {},
        "requests_by_hour": {},
        "tokens_by_day": {},
        "tokens_by_hour": {},
        "cost_usd": 0.0,
        "priced_requests": 0,
    }
    nanos = 0
    query = f"SELECT * FROM usage_rollups {where} ORDER BY bucket_start DESC"  # noqa: S608
    for row in connection.execute(query, values):
        nanos += row["cost_nanos"]
        _add(usage, row, details=details)
    usage["cost_usd"] = nanos / 1e9
    return {"usage": usage, "failed_requests": usage["failure_count"]}


def _add(usage: dict[str, Any], row: sqlite3.Row, *, details: bool) -> None:
    count, tokens = row["request_count"], row["total_tokens"]
    api = usage["apis"].setdefault(row["api_group_key"], {**_counters(), "models": {}})
    model = api["models"].setdefault(row["model"], {**_counters(), "details": []})
    usage["priced_requests"] += row["priced_count"]
    for place in (usage, api, model):
        place["total_requests"] += count
        place["total_tokens"] += tokens
        place["failure_count" if row["failed"] else "success_count"] += count
    moment = datetime.fromtimestamp(parse_timestamp(row["bucket_start"]) / 1000)
    for unit, name in (("day", f"{moment:%Y-%m-%d}"), ("hour", f"{moment:%H}")):
        for kind, value in (("requests", count), ("tokens", tokens)):
            sums = usage[f"{kind}_by_{unit}"]
            sums[name] = sums.get(name, 0) + value
    if details and len(model["details"]) < MOST_DETAILS:
        model["details"].append(_detail(row))


def _counters() -> dict[str, int]:
    return {"total_requests": 0, "success_count": 0, "failure_count": 0, "total_tokens": 0}


def _detail(row: sqlite3.Row) -> dict[str, Any]:
    samples = row["latency_sample_count"]
    return {
        "timestamp": row["bucket_start"],
        "latency_ms": row["latency_total_ms"] // samples if samples else 0,
        "source": row["source"],
        "auth_index": row["auth_index"],
        "tokens": shown_tokens(row),
        "failed": bool(row["failed"]),
        "request_count": row["request_count"],
        "latency_total_ms": row["latency_total_ms"],
        "latency_sample_count": samples,
        "provider": row["provider"],
        "cost_usd": row["cost_nanos"] / 1e9,
    }


def summary(
    connection: sqlite3.Connection, by: str, start_ms: int | None = None, end_ms: int | None = None
) -> list[dict[str, Any]]:
    """Sums by ``day`` (local), ``model``, ``account``, ``key`` or ``provider``, the largest first (days in order)."""
    columns = {
        "day": "date(bucket_start, 'localtime')",
        "model": "model",
        "account": "source",
        "key": "api_group_key",
        "provider": "provider",
    }
    where, values = _bucket_range(start_ms, end_ms)
    order = "1" if by == "day" else "total_tokens DESC, requests DESC"
    query = f"""
        SELECT {columns[by]} AS name, sum(final_count) AS requests, sum(request_count) AS attempts,
            sum(CASE WHEN failed THEN request_count ELSE 0 END) AS failed, sum(total_tokens) AS total_tokens,
            sum(cache_read_tokens) AS cache_read_tokens, sum(output_tokens) AS output_tokens,
            sum(cost_nanos) AS cost_nanos, sum(priced_count) AS priced
        FROM usage_rollups {where} GROUP BY 1 ORDER BY {order}"""  # noqa: S608
    return [dict(row) for row in connection.execute(query, values)]


def _where(wanted: EventFilter, *, cursor: bool = False) -> tuple[str, list[Any]]:
    parts: list[str] = []
    values: list[Any] = []

    def add(condition: str, *given: Any) -> None:
        parts.append(condition)
        values.extend(given)

    if wanted.start_ms is not None:
        add("ts_ms >= ?", wanted.start_ms)
    if wanted.end_ms is not None:
        add("ts_ms <= ?", wanted.end_ms)
    if wanted.models:
        add(f"model IN ({', '.join('?' * len(wanted.models))})", *wanted.models)
    if wanted.source:
        add("(source = ? OR auth_index = ? OR provider = ?)", wanted.source, wanted.source, wanted.source)
    for column, value in (
        ("auth_index", wanted.auth_index),
        ("provider", wanted.provider),
        ("api_group_key", wanted.group),
        ("request_id", wanted.request_id),
    ):
        if value:
            add(f"{column} = ?", value)
    if wanted.failed is not None:
        add("failed = ?", int(wanted.failed))
    if cursor and wanted.after_id is not None:
        add("(ts_ms, id) < (?, ?)", wanted.after_ms, wanted.after_id)
    return ("WHERE " + " AND ".join(parts) if parts else "", values)


def _bucket_range(start_ms: int | None, end_ms: int | None) -> tuple[str, list[str]]:
    parts, values = [], []
    if start_ms is not None:
        parts.append("bucket_start >= ?")
        values.append(bucket(start_ms))
    if end_ms is not None:
        parts.append("bucket_start <= ?")
        values.append(bucket(end_ms))
    return ("WHERE " + " AND ".join(parts) if parts else "", values)


def _first(query: Mapping[str, str], *names: str) -> str:
    return next((query[name].strip() for name in names if query.get(name, "").strip()), "")


def _positive(query: Mapping[str, str], complaint: str, default: int, *names: str) -> int:
    text = next((query[name].strip() for name in names if name in query), "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text[:12]) < 1:
        raise WrongQuery(complaint)
    return int(text[:12])


def _moment(query: Mapping[str, str], complaint: str, *names: str) -> int | None:
    """Unix milliseconds of an RFC 3339 time, or of a number of seconds or milliseconds."""
    text = _first(query, *names)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        try:
            return parse_timestamp(text.replace(" ", "+"))
        except ValueError:
            raise WrongQuery(complaint) from None
    if not 0 <= number < 1e16:
        raise WrongQuery(complaint)
    return int(number if number > _MILLISECONDS_FROM else number * 1000)
