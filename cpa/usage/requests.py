"""Requests, one row each: the last attempt in the durable record joined with its history, or either of them alone."""

from __future__ import annotations

import sqlite3
from typing import Any

from msgspec import Struct

from cpa.usage.event import parse_timestamp
from cpa.usage.histories import find_history, history_json, summary

LARGEST_PAGE = 1000
_EVENTS = """
SELECT e.*, h.id AS history_id FROM usage_events e LEFT JOIN request_histories h ON h.request_id = e.request_id
WHERE e.final = 1 AND {where} ORDER BY e.ts_ms DESC, e.request_id DESC LIMIT ?"""
_LONE_HISTORIES = """
SELECT h.* FROM (SELECT id, request_id, log_name, url, method, status_code, force, request_timestamp,
    api_response_timestamp, created_at, detail FROM request_histories) h
WHERE NOT EXISTS (SELECT 1 FROM usage_events e WHERE e.request_id = h.request_id AND e.final = 1) AND {where}
ORDER BY {begun} DESC, h.request_id DESC LIMIT ?"""
_BEGUN = (
    "(CAST(strftime('%s', substr(h.request_timestamp, 1, 19)) AS INTEGER) * 1000 "
    "+ CAST(substr(rtrim(substr(h.request_timestamp, 21), 'Z') || '000', 1, 3) AS INTEGER))"
)
"""Unix milliseconds; as texts, moments of one second are not in their order."""


class RequestFilter(Struct, kw_only=True):
    """Which requests are wanted; what is empty does not count. Times are Unix milliseconds."""

    limit: int = 100
    start_ms: int | None = None
    end_ms: int | None = None
    models: tuple[str, ...] = ()
    """As they were asked for, or the upstream's names of them."""
    account: str = ""
    """An account, its index, or a provider."""
    auth_index: str = ""
    provider: str = ""
    client: str = ""
    """The id of a client key."""
    request_id: str = ""
    """Or the beginning of one."""
    failed: bool | None = None
    status: int | None = None
    before: tuple[int, str] | None = None
    """Only requests before this one: when it began, and its id."""


def list_requests(connection: sqlite3.Connection, wanted: RequestFilter) -> list[dict[str, Any]]:
    """The newest requests first. Raises sqlite3.Error."""
    limit = min(wanted.limit, LARGEST_PAGE)
    where, values = _event_conditions(wanted)
    rows = [_of_event(row) for row in connection.execute(_EVENTS.format(where=where), (*values, limit))]
    where, values = _history_conditions(wanted)
    query = _LONE_HISTORIES.format(where=where, begun=_BEGUN)
    rows += [_of_history(row) for row in connection.execute(query, (*values, limit))]
    rows.sort(key=lambda row: (row["started_ms"], row["request_id"]), reverse=True)
    return rows[:limit]


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


def _event_conditions(wanted: RequestFilter) -> tuple[str, list[Any]]:
    conditions: list[tuple[str, list[Any]]] = [
        ("e.ts_ms >= ?", [wanted.start_ms]),
        ("e.ts_ms <= ?", [wanted.end_ms]),
        _any_of(("e.model", "e.requested_model"), wanted.models),
        ("(e.source = ? OR e.auth_index = ? OR e.provider = ?)", [wanted.account or None] * 3),
        ("e.auth_index = ?", [wanted.auth_index or None]),
        ("e.provider = ?", [wanted.provider or None]),
        ("e.api_group_key = ?", [wanted.client or None]),
        ("e.request_id >= ?", [wanted.request_id or None]),
        ("e.request_id < ?", [wanted.request_id + "\x7f" if wanted.request_id else None]),
        ("e.failed = ?", [None if wanted.failed is None else int(wanted.failed)]),
        ("e.status_code = ?", [wanted.status]),
        ("e.ts_ms <= ?", [wanted.before[0] if wanted.before else None]),
        ("(e.ts_ms, e.request_id) < (?, ?)", list(wanted.before or (None,))),
    ]
    return _joined(conditions)


def _history_conditions(wanted: RequestFilter) -> tuple[str, list[Any]]:
    fact = "json_extract(nullif(h.detail, ''), '$.facts.%s')"
    account = f"({fact % 'account'} = ? OR {fact % 'provider'} = ?)"
    conditions: list[tuple[str, list[Any]]] = [
        (f"{_BEGUN} >= ?", [wanted.start_ms]),
        (f"{_BEGUN} <= ?", [wanted.end_ms]),
        _any_of((fact % "model", fact % "upstream_model"), wanted.models),
        (account, [wanted.account or None] * 2),
        ("0 = ?", [1 if wanted.auth_index else None]),  # which a history does not tell
        (f"{fact % 'provider'} = ?", [wanted.provider or None]),
        (f"{fact % 'client'} = ?", [wanted.client or None]),
        ("h.request_id >= ?", [wanted.request_id or None]),
        ("h.request_id < ?", [wanted.request_id + "\x7f" if wanted.request_id else None]),
        ("(h.status_code >= 400) = ?", [None if wanted.failed is None else int(wanted.failed)]),
        ("h.status_code = ?", [wanted.status]),
        (f"({_BEGUN}, h.request_id) < (?, ?)", list(wanted.before or (None,))),
    ]
    return _joined(conditions)


def _any_of(columns: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, list[Any]]:
    """One of the columns has one of the values."""
    places = ", ".join("?" * len(wanted))
    text = " OR ".join(f"{column} IN ({places})" for column in columns)
    return f"({text})", [*wanted * len(columns)] or [None]


def _joined(conditions: list[tuple[str, list[Any]]]) -> tuple[str, list[Any]]:
    used = [(text, values) for text, values in conditions if values[0] is not None]
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
