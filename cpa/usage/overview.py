"""Totals of usage, from the sums. Every function blocks: call it in a thread."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, tzinfo
from operator import add as plus
from typing import Any

from cpa.usage.event import QUARTER_MS, bucket
from cpa.usage.sums import bucket_range, quarter_range, summed
from cpa.usage.tables import SUMS
from cpa.usage.tokens import TOKEN_COLUMNS

MOST_DETAILS = 1000
"""Detail rows given for each model, the newest."""
MOST_DETAILS_IN_ALL = 2000
_TOTALS = ", ".join(f"sum({name}) AS {name}" for name in SUMS)
_DETAIL_SUMS = ("request_count", "latency_total_ms", "latency_sample_count", "cost_nanos", *TOKEN_COLUMNS)
_DETAIL = f"""
SELECT bucket, failed, source, auth_index, provider, {", ".join(_DETAIL_SUMS)}
FROM usage_sums s CROSS JOIN usage_places p ON p.id = s.place_id
WHERE s.place_id = ? AND {{where}} ORDER BY bucket DESC LIMIT ?
"""  # noqa: S608
GROUPS = (
    "api_group_key", "provider", "endpoint", "auth_type", "model", "requested_model", "source", "auth_index",
    "client_format", "upstream_format", "reasoning_effort", "service_tier", "response_service_tier", "failed",
)  # fmt: skip
"""What totals can be grouped by."""


def overview(
    connection: sqlite3.Connection,
    start_ms: int | None = None,
    end_ms: int | None = None,
    *,
    details: bool = True,
    zone: tzinfo | None = None,
    group_by: Sequence[str] = (),
) -> dict[str, Any]:
    """Totals by client and model, by day and by hour: days and hours of ``zone``, of the machine's when None.

    With ``group_by``, of :data:`GROUPS`, also ``groups``: totals of each combination, the most requests first.
    """
    usage: dict[str, Any] = {**_counters(), "apis": {}}
    for row in _grouped(connection, ("api_group_key", "model", "failed"), start_ms, end_ms):
        api = usage["apis"].setdefault(row["api_group_key"], {**_counters(), "models": {}})
        model = api["models"].setdefault(row["model"], {**_counters(), "details": []})
        for place in (usage, api, model):
            _add(place, row)
    usage |= _by_time(connection, start_ms, end_ms, zone)
    if group_by:
        usage["groups"] = _groups(connection, group_by, start_ms, end_ms)
    if details:
        _add_details(connection, usage["apis"], start_ms, end_ms)
    return {"usage": usage, "failed_requests": usage["failure_count"]}


def _grouped(
    connection: sqlite3.Connection, names: Sequence[str], start_ms: int | None, end_ms: int | None
) -> Iterator[sqlite3.Row]:
    """Sums of each combination of some of :data:`GROUPS`."""
    table, values = summed(("place_id", "failed", *SUMS), start_ms, end_ms)
    columns = ", ".join(names)
    by_place = f"SELECT place_id, failed, {_TOTALS} FROM {table} GROUP BY 1, 2"  # noqa: S608
    query = f"""
        SELECT {columns}, {_TOTALS} FROM ({by_place}) s CROSS JOIN usage_places p ON p.id = s.place_id
        GROUP BY {columns} ORDER BY request_count DESC"""  # noqa: S608
    return connection.execute(query, values)


def _groups(
    connection: sqlite3.Connection, names: Sequence[str], start_ms: int | None, end_ms: int | None
) -> list[dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in _grouped(connection, tuple(dict.fromkeys((*names, "failed"))), start_ms, end_ms):
        name = tuple(row[each] for each in names)
        if name not in found:
            found[name] = {**dict(zip(names, name, strict=True)), **_counters()}
        _add(found[name], row)
    return sorted(found.values(), key=lambda each: -each["total_requests"])


def no_overview() -> dict[str, Any]:
    """The overview of a record in which there is nothing."""
    usage = {**_counters(), "apis": {}, **{name: {} for name in _TIMES}}
    return {"usage": usage, "failed_requests": 0}


def _counters() -> dict[str, Any]:
    return {
        "total_requests": 0,
        "success_count": 0,
        "failure_count": 0,
        "client_requests": 0,
        "total_tokens": 0,
        "tokens": dict.fromkeys(TOKEN_COLUMNS, 0),
        "latency_total_ms": 0,
        "latency_sample_count": 0,
        "ttft_total_ms": 0,
        "ttft_sample_count": 0,
        "cost_nanos": 0,
        "cost_usd": 0.0,
        "priced_requests": 0,
        "cost_available": True,
        "unpriced_tokens": 0,
        "unpriced_share": 0.0,
    }


def _add(place: dict[str, Any], row: sqlite3.Row) -> None:
    count = row["request_count"]
    place["total_requests"] += count
    place["failure_count" if row["failed"] else "success_count"] += count
    place["client_requests"] += row["final_count"]
    place["total_tokens"] += row["total_tokens"]
    tokens = place["tokens"]
    for name in tokens:
        tokens[name] += row[name]
    for name in ("latency_total_ms", "latency_sample_count", "ttft_total_ms", "ttft_sample_count", "cost_nanos"):
        place[name] += row[name]
    place["cost_usd"] = place["cost_nanos"] / 1e9
    place["priced_requests"] += row["priced_count"]
    place["unpriced_tokens"] += row["total_tokens"] - row["priced_tokens"]
    place["unpriced_share"] = place["unpriced_tokens"] / place["total_tokens"] if place["total_tokens"] else 0.0
    place["cost_available"] = place["priced_requests"] > 0 or place["total_tokens"] == 0


_TIMES = ("requests_by_day", "requests_by_hour", "tokens_by_day", "tokens_by_hour")


def _by_time(
    connection: sqlite3.Connection, start_ms: int | None, end_ms: int | None, zone: tzinfo | None
) -> dict[str, dict[str, int]]:
    where, values = quarter_range(start_ms, end_ms)
    query = f"""
        SELECT {_local_hour(connection, zone)} AS hour, sum(request_count) AS requests, sum(total_tokens) AS tokens
        FROM usage_quarters WHERE {where} GROUP BY 1 ORDER BY 1"""  # noqa: S608
    found: dict[str, dict[str, int]] = {name: {} for name in _TIMES}
    for row in connection.execute(query, values):
        day, _, hour = row["hour"].partition(" ")
        for unit, name in (("day", day), ("hour", hour)):
            for kind in ("requests", "tokens"):
                sums = found[f"{kind}_by_{unit}"]
                sums[name] = sums.get(name, 0) + row[kind]
    return found


def _local_hour(connection: sqlite3.Connection, zone: tzinfo | None) -> str:
    """An expression for day and hour of ``bucket_start``: ``2026-01-31 12``."""
    if zone is None:
        return "strftime('%Y-%m-%d %H', bucket_start, 'localtime')"

    def hour_in_zone(text: str) -> str:
        moment = datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).astimezone(zone)
        return f"{moment:%Y-%m-%d %H}"

    connection.create_function("hour_in_zone", 1, hour_in_zone, deterministic=True)
    return "hour_in_zone(bucket_start)"


def _add_details(
    connection: sqlite3.Connection, apis: dict[str, Any], start_ms: int | None, end_ms: int | None
) -> None:
    """The newest quarters of an hour of every model, so many that the answer stays readable."""
    where, values = bucket_range(start_ms, end_ms)
    models = {(group, model): entry for group, api in apis.items() for model, entry in api["models"].items()}
    most = max(1, min(MOST_DETAILS, MOST_DETAILS_IN_ALL // max(len(models), 1)))
    places: dict[tuple[str, str], list[int]] = {}
    for row in connection.execute("SELECT id, api_group_key, model FROM usage_places WHERE sums_id IS NULL"):
        places.setdefault((row["api_group_key"], row["model"]), []).append(row["id"])
    cursor = connection.cursor()
    cursor.row_factory = None
    for name, entry in list(models.items())[:MOST_DETAILS_IN_ALL]:
        found: dict[_DetailName, tuple[int, ...]] = {}
        for place in places[name]:
            for row in cursor.execute(_DETAIL.format(where=where), [place, *values, most]):
                # requests of one account that differ in what details do not show are one
                there = found.get(row[:5])
                found[row[:5]] = row[5:] if there is None else tuple(map(plus, there, row[5:]))
        entry["details"] = [_detail(key, found[key]) for key in sorted(found, reverse=True)[:most]]


_DetailName = tuple[int, int, str, str, str]


def _detail(name: _DetailName, sums: tuple[int, ...]) -> dict[str, Any]:
    quarter, failed, source, auth_index, provider = name
    count, latency, samples, cost, *tokens = sums
    return {
        "timestamp": bucket(quarter * QUARTER_MS),
        "latency_ms": latency // samples if samples else 0,
        "source": source,
        "auth_index": auth_index,
        "tokens": dict(zip(TOKEN_COLUMNS, tokens, strict=True)),
        "failed": bool(failed),
        "request_count": count,
        "latency_total_ms": latency,
        "latency_sample_count": samples,
        "provider": provider,
        "cost_usd": cost / 1e9,
    }


NAMES = {
    "model": "model",
    "account": "source",
    "key": "api_group_key",
    "provider": "provider",
    "requested": "requested_model",
    "effort": "reasoning_effort",
    "tier": "service_tier",
    "served-tier": "response_service_tier",
    "endpoint": "endpoint",
}
"""What :func:`summary` sums by, besides ``day``, and the column that has it."""


_ACCOUNT = ("source AS name", "provider", "CASE WHEN source LIKE '%...%' THEN auth_index ELSE '' END AS auth_index")
"""What tells accounts apart: one may be at two vendors, and keys may look alike once they are masked."""


def summary(
    connection: sqlite3.Connection, by: str, start_ms: int | None = None, end_ms: int | None = None
) -> list[dict[str, Any]]:
    """Sums by ``day`` (local) or one of :data:`NAMES`, the largest first (days in order)."""
    if by == "day":
        where, values = quarter_range(start_ms, end_ms)
        day = ("date(bucket_start, 'localtime') AS name",)
        return _lines(connection, day, f"usage_quarters WHERE {where}", "1", values)
    table, numbers = summed(("place_id", "failed", *SUMS), start_ms, end_ms)
    places = f"{table} s CROSS JOIN usage_places p ON p.id = s.place_id"
    columns = _ACCOUNT if by == "account" else (f"{NAMES[by]} AS name",)
    rows = _lines(connection, columns, places, "total_tokens DESC, requests DESC", numbers)
    return _told_apart(rows) if by == "account" else rows


def _lines(
    connection: sqlite3.Connection, columns: Sequence[str], table: str, order: str, values: Sequence[int | str]
) -> list[dict[str, Any]]:
    query = f"""
        SELECT {", ".join(columns)}, sum(final_count) AS requests, sum(request_count) AS attempts,
            sum(CASE WHEN failed THEN request_count ELSE 0 END) AS failed, sum(total_tokens) AS total_tokens,
            sum(cache_read_tokens) AS cache_read_tokens, sum(output_tokens) AS output_tokens,
            sum(cost_nanos) AS cost_nanos, sum(priced_count) AS priced,
            sum(total_tokens - priced_tokens) AS unpriced_tokens
        FROM {table} GROUP BY {", ".join(str(number + 1) for number in range(len(columns)))}
        ORDER BY {order}"""  # noqa: S608
    return [dict(row) for row in connection.execute(query, values)]


def _told_apart(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sums of accounts, each under a name that no other has: as it is, with its provider, with its index too."""
    names = Counter(row["name"] for row in rows)
    places = Counter((row["name"], row["provider"]) for row in rows)
    for row in rows:
        name, provider, index = row["name"], row.pop("provider"), row.pop("auth_index")
        if names[name] > 1:
            more = [provider] if not name.startswith(f"{provider} ") else []
            more += [index[:6]] if places[name, provider] > 1 else []
            row["name"] = f"{name} ({' '.join(more)})" if more else name
    return rows
