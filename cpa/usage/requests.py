"""Requests, one row each: the last attempt in the durable record joined with its history, or either of them alone."""

from __future__ import annotations

import sqlite3
from typing import Any

import orjson

from cpa.usage.event import LATEST_MS, parse_timestamp, timestamp
from cpa.usage.filters import LARGEST_PAGE, RequestFilter
from cpa.usage.histories import SUMMARY, find_history, history_json, summary
from cpa.usage.search import Search

_EVENTS = """
SELECT e.*, h.id AS history_id FROM usage_events e LEFT JOIN request_histories h ON h.request_id = e.request_id
WHERE e.id IN (SELECT value FROM json_each(?)) ORDER BY e.ts_ms DESC, e.request_id DESC"""
_LONE = """
WITH lone AS MATERIALIZED (SELECT h.id FROM request_histories h WHERE {own}
    AND NOT EXISTS (SELECT 1 FROM usage_attempts a WHERE a.request_id = h.request_id AND a.final = 1))
SELECT h.id FROM lone CROSS JOIN request_histories h ON h.id = lone.id WHERE {told}
ORDER BY {begun} DESC, h.request_id DESC LIMIT ?"""
"""What stands behind the text of a history is read of few of them only: on the way to it all of the text is."""
CLOCK_MS = 60_000
"""So much later a request may seem to have begun than its history was written: the clock was set back meanwhile."""
_BEGUN = (
    "(CAST(strftime('%s', substr(h.request_timestamp, 1, 19)) AS INTEGER) * 1000 "
    "+ CAST(substr(rtrim(substr(h.request_timestamp, 21), 'Z') || '000', 1, 3) AS INTEGER))"
)
"""Unix milliseconds; as texts, moments of one second are not in their order."""


def list_requests(connection: sqlite3.Connection, wanted: RequestFilter) -> list[dict[str, Any]]:
    """The newest requests first. Raises sqlite3.Error."""
    limit = min(wanted.limit, LARGEST_PAGE)
    numbers = orjson.dumps(Search(connection, wanted).newest(limit)).decode()
    rows = [_of_event(row) for row in connection.execute(_EVENTS, [numbers])]
    oldest = rows[-1]["started_ms"] if len(rows) == limit else 0
    rows += [_of_history(row) for row in _lone_histories(connection, wanted, limit, oldest)]
    rows.sort(key=lambda row: (row["started_ms"], row["request_id"]), reverse=True)
    return rows[:limit]


def _lone_histories(
    connection: sqlite3.Connection, wanted: RequestFilter, limit: int, oldest_ms: int
) -> list[sqlite3.Row]:
    """The newest histories of requests that are not in the durable record, and began at ``oldest_ms`` or later."""
    if wanted.auth_index:
        return []  # which a history does not tell
    own, own_values, told, told_values = _history_conditions(wanted, max(oldest_ms, wanted.start_ms or 0))
    query = _LONE.format(own=own, told=told, begun=_BEGUN)
    numbers = [row[0] for row in connection.execute(query, [*own_values, *told_values, limit])]
    found = f"SELECT {SUMMARY} FROM request_histories WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
    return connection.execute(found, [orjson.dumps(numbers).decode()]).fetchall()


def describe_request(connection: sqlite3.Connection, request_id: str) -> dict[str, Any] | None:
    """All of one request: its history, and what the durable record says of each attempt. None when nothing is known."""
    row = find_history(connection, request_id)
    recorded = attempts_of(connection, request_id)
    if row is None and not recorded:
        return None
    return (history_json(row) if row is not None else {"request_id": request_id}) | {"recorded": recorded}


def attempts_of(connection: sqlite3.Connection, request_id: str) -> list[dict[str, Any]]:
    """What the durable record says of each attempt of a request, in their order; what tools took after its attempt."""
    query = "SELECT e.*, NULL AS history_id FROM usage_events e WHERE e.request_id = ? ORDER BY ts_ms, id"
    return [_of_event(row) for row in connection.execute(query, (request_id,))]


def _history_conditions(wanted: RequestFilter, start_ms: int) -> tuple[str, list[Any], str, list[Any]]:
    """Conditions on what stands in the columns of a history, and on what stands behind its text, with their values."""
    end_ms = min(
        LATEST_MS if wanted.end_ms is None else wanted.end_ms, wanted.before[0] if wanted.before else LATEST_MS
    )
    fact = "json_extract(nullif(h.detail, ''), '$.facts.%s')"
    own: list[tuple[str, list[Any]]] = [
        ("h.created_at >= ?", [_second(start_ms - CLOCK_MS) if start_ms else None]),
        ("h.request_timestamp >= ?", [_second(start_ms) if start_ms else None]),
        ("h.request_timestamp < ?", [_second(end_ms + 1000) if end_ms < LATEST_MS else None]),
        (f"{_BEGUN} >= ?", [start_ms or None]),
        (f"{_BEGUN} <= ?", [wanted.end_ms]),
        (f"({_BEGUN}, h.request_id) < (?, ?)", list(wanted.before or (None,))),
        ("(h.status_code >= 400) = ?", [None if wanted.failed is None else int(wanted.failed)]),
        ("h.status_code = ?", [wanted.status]),
        wanted.of_request(),
    ]
    told: list[tuple[str, list[Any]]] = [
        _any_of((fact % "model", fact % "upstream_model"), wanted.models),
        (f"({fact % 'account'} = ? OR {fact % 'provider'} = ?)", [wanted.account or None] * 2),
        (f"{fact % 'provider'} = ?", [wanted.provider or None]),
        (f"{fact % 'client'} = ?", [wanted.client or None]),
    ]
    return *_joined(own), *_joined(told)


def _second(ms: int) -> str:
    """The beginning of every moment of a second, as it is written down."""
    return timestamp(max(ms, 0))[:19]


def _any_of(columns: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, list[Any]]:
    """One of the columns has one of the values."""
    places = ", ".join("?" * len(wanted))
    text = " OR ".join(f"{column} IN ({places})" for column in columns)
    return f"({text})", [*wanted * len(columns)] or [None]


def _joined(conditions: list[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    used = [(text, values) for text, values in conditions if values and values[0] is not None]
    return " AND ".join(["1", *(text for text, _ in used)]), [value for _, values in used for value in values]


def _of_event(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "request_id": row["request_id"],
        "started_ms": row["ts_ms"],
        "timestamp": row["timestamp"],
        "status": row["status_code"],
        "failed": bool(row["failed"]),
        "endpoint": row["endpoint"],
        "model": row["requested_model"] or row["model"],
        "upstream_model": row["model"],
        "provider": row["provider"],
        "account": row["source"],
        "client": row["api_group_key"],
        "stream": bool(row["stream"]),
        "attempts": row["attempt"],
        "duration_ms": row["latency_ms"],
        "ttft_ms": row["ttft_ms"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "total_tokens": row["total_tokens"],
        "cost_usd": None if row["cost_nanos"] is None else row["cost_nanos"] / 1e9,
        "error": row["fail_body"] or row["error_code"],
        "history": row["history_id"] is not None,
    }


def _of_history(row: sqlite3.Row) -> dict[str, Any]:
    known = summary(row)
    status = known["status"]
    return {
        "request_id": known["request_id"],
        "started_ms": _milliseconds(known["timestamp"]),
        "timestamp": known["timestamp"],
        "status": status,
        "failed": status >= 400 or bool(known.get("error")),
        "endpoint": f"{known['method']} {known['url'].partition('?')[0]}",
        "model": known.get("model", ""),
        "upstream_model": known.get("upstream_model", ""),
        "provider": known.get("provider", ""),
        "account": known.get("account", ""),
        "client": known.get("client", ""),
        "stream": bool(known.get("stream")),
        "attempts": known.get("attempt_count", 0),
        "duration_ms": known.get("duration_ms", 0),
        "ttft_ms": known.get("ttft_ms"),
        "input_tokens": known.get("input_tokens", 0),
        "output_tokens": known.get("output_tokens", 0),
        "total_tokens": known.get("total_tokens", 0),
        "cost_usd": None,
        "error": known.get("error", ""),
        "history": True,
    }


def _milliseconds(text: str | None) -> int:
    try:
        return parse_timestamp(text or "")
    except ValueError:
        return 0
