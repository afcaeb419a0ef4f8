"""Requests, one row each: the last attempt in the durable record joined with its history, or either of them alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import Any

import orjson

from cpa.usage.event import parse_timestamp
from cpa.usage.filters import LARGEST_PAGE, RequestFilter
from cpa.usage.histories import History, HistoryReader, find_history, history_json, summary
from cpa.usage.search import Search

_EVENTS = """
SELECT e.*, i.history_id, CASE WHEN e.attempt > 1 THEN (
    SELECT f.ts_ms FROM usage_attempts f INDEXED BY idx_usage_attempts_request_id
    WHERE f.request_id = e.request_id AND f.id < e.id AND f.attempt = 1 ORDER BY f.id DESC LIMIT 1) END AS first_ms
FROM usage_events e LEFT JOIN request_history_ids i ON i.request_id = e.request_id
WHERE e.id IN (SELECT value FROM json_each(?)) ORDER BY e.ts_ms DESC, e.request_id DESC"""
_LONE = """
SELECT i.history_id FROM request_history_ids i
WHERE NOT EXISTS (SELECT 1 FROM usage_attempts a WHERE a.request_id = i.request_id AND a.final = 1) AND {where}
ORDER BY i.begun_ms DESC, i.request_id DESC"""


def list_requests(connection: sqlite3.Connection, wanted: RequestFilter) -> list[dict[str, Any]]:
    """The newest requests first. Raises sqlite3.Error."""
    limit = min(wanted.limit, LARGEST_PAGE)
    numbers = orjson.dumps(Search(connection, wanted).newest(limit)).decode()
    rows = [_of_event(row) for row in connection.execute(_EVENTS, [numbers])]
    oldest = rows[-1]["started_ms"] if len(rows) == limit else 0
    rows += islice(_lone_histories(connection, wanted, oldest), limit)
    rows.sort(key=lambda row: (row["started_ms"], row["request_id"]), reverse=True)
    return rows[:limit]


def _lone_histories(connection: sqlite3.Connection, wanted: RequestFilter, oldest_ms: int) -> Iterator[dict[str, Any]]:
    """Requests that are not in the durable record, and began at ``oldest_ms`` or later, the newest first."""
    if wanted.auth_index:
        return  # which a history does not tell
    conditions: list[tuple[str, list[Any]]] = [
        ("i.begun_ms >= ?", [max(oldest_ms, wanted.start_ms or 0) or None]),
        ("i.begun_ms <= ?", [wanted.end_ms]),
        ("(i.begun_ms, i.request_id) < (?, ?)", list(wanted.before or (None,))),
        wanted.of_request(),
    ]
    used = [(text, values) for text, values in conditions if values and values[0] is not None]
    query = _LONE.format(where=" AND ".join(["1", *(text for text, _ in used)]))
    reader = HistoryReader(connection)
    for row in connection.execute(query, [value for _, values in used for value in values]):
        history = reader.at(row["history_id"])
        if history is not None and _is_wanted(shown := _of_history(history), history.status, wanted):
            yield shown


def _is_wanted(shown: dict[str, Any], status: int, wanted: RequestFilter) -> bool:
    return (
        (not wanted.models or shown["model"] in wanted.models or shown["upstream_model"] in wanted.models)
        and wanted.account in ("", shown["account"], shown["provider"])
        and wanted.provider in ("", shown["provider"])
        and wanted.client in ("", shown["client"])
        and wanted.failed in (None, status >= 400)
        and wanted.status in (None, status)
        and shown["duration_ms"] >= wanted.latency_ms
    )


def describe_request(connection: sqlite3.Connection, request_id: str) -> dict[str, Any] | None:
    """All of one request: its history, and what the durable record says of each attempt. None when nothing is known."""
    history = find_history(connection, request_id)
    recorded = attempts_of(connection, request_id)
    if history is None and not recorded:
        return None
    return (history_json(history) if history is not None else {"request_id": request_id}) | {"recorded": recorded}


def attempts_of(connection: sqlite3.Connection, request_id: str) -> list[dict[str, Any]]:
    """What the durable record says of each attempt of a request, in their order; what tools took after its attempt."""
    query = """
        SELECT e.*, NULL AS history_id, NULL AS first_ms FROM usage_events e
        WHERE e.request_id = ? ORDER BY ts_ms, id"""
    return [_of_event(row) for row in connection.execute(query, (request_id,))]


def _of_event(row: sqlite3.Row) -> dict[str, Any]:
    """A line of a request's last attempt; it took as long as all of them together, with the waiting between."""
    before = 0 if row["first_ms"] is None else max(row["ts_ms"] - row["first_ms"], 0)
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
        "duration_ms": before + row["latency_ms"],
        "ttft_ms": row["ttft_ms"],
        "input_tokens": row["input_tokens"],
        "output_tokens": row["output_tokens"],
        "total_tokens": row["total_tokens"],
        "cost_usd": None if row["cost_nanos"] is None else row["cost_nanos"] / 1e9,
        "error": row["fail_body"] or row["error_code"],
        "history": row["history_id"] is not None,
    }


def _of_history(history: History) -> dict[str, Any]:
    known = summary(history)
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
