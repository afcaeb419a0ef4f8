"""Events out of the database and into another one: JSON as CLIProxyAPI writes it, JSON lines, CSV."""

from __future__ import annotations

import csv
import io
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from typing import Any

import orjson
from msgspec import Struct
from msgspec.structs import replace

from cpa.errors import CpaError
from cpa.usage.event import LATEST_MS, Event, Tokens, parse_timestamp, shown_tokens, timestamp
from cpa.usage.filters import EventFilter, conditions
from cpa.usage.insert import add
from cpa.usage.queries import every_event

BATCH = 1000
PIECE = 65536
_LARGEST = 10**15
Run = Callable[[Callable[[sqlite3.Connection], int]], int]
CSV_COLUMNS = (
    "timestamp", "api_group_key", "provider", "endpoint", "auth_type", "request_id", "model", "requested_model",
    "source", "auth_index", "failed", "status_code", "error_code", "attempt", "final", "latency_ms", "ttft_ms",
    "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_read_tokens",
    "cache_creation_tokens", "total_tokens", "cost_nanos", "stream", "reasoning_effort", "service_tier",
    "response_service_tier", "client_ip", "user_agent",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class WrongImport(CpaError):
    """What is to be imported is no export."""


class Imported(Struct):
    """What an import did."""

    added: int = 0
    skipped: int = 0
    """Events that were there already."""
    failed: int = 0
    """Rows that are no events."""


def export_json(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    """``{"version": 1, "exported_at": ..., "usage": {...}}`` in pieces; read back by CLIProxyAPI and by cpa."""
    return _pieces(_json(connection, wanted))


def _json(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    where, values = conditions(wanted)
    where += ["ts_ms >= ?", "ts_ms <= ?"]
    span = [wanted.start_ms or 0, LATEST_MS if wanted.end_ms is None else wanted.end_ms]
    query = f"""
        SELECT api_group_key, model, count(*) AS requests, sum(failed) AS failed, sum(total_tokens) AS tokens
        FROM usage_events WHERE {" AND ".join(where)} GROUP BY 1, 2 ORDER BY 1, 2"""  # noqa: S608
    rows = connection.execute(query, [*values, *span]).fetchall()
    yield b'{"version":1,"exported_at":' + orjson.dumps(timestamp(int(time.time() * 1000))) + b',"usage":{'
    yield _totals(rows, successes=True) + b',"apis":{'
    for number, (group, models) in enumerate(groupby(rows, key=lambda row: row["api_group_key"])):
        entries = list(models)
        yield (b"," if number else b"") + orjson.dumps(group) + b":{" + _totals(entries) + b',"models":{'
        for index, entry in enumerate(entries):
            yield (b"," if index else b"") + orjson.dumps(entry["model"]) + b":{" + _totals([entry])
            yield b',"details":['
            these = replace(wanted, group=group, models=(entry["model"],))
            for place, row in enumerate(every_event(connection, these)):
                yield (b"," if place else b"") + orjson.dumps(_detail(row))
            yield b"]}"
        yield b"}}"
    yield b"}}}"


def _totals(rows: list[sqlite3.Row], *, successes: bool = False) -> bytes:
    """The counters of an object, without its braces."""
    counted, failed = sum(row["requests"] for row in rows), sum(row["failed"] for row in rows)
    totals = {"total_requests": counted, "total_tokens": sum(row["tokens"] for row in rows)}
    if successes:
        totals |= {"success_count": counted - failed, "failure_count": failed}
    return orjson.dumps(totals)[1:-1]


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of a size that is worth a hop between threads."""
    buffer = bytearray()
    for part in parts:
        buffer += part
        if len(buffer) > PIECE:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def _detail(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "timestamp": row["timestamp"],
        "latency_ms": row["latency_ms"],
        "source": row["source"],
        "auth_index": row["auth_index"],
        "tokens": shown_tokens(row),
        "failed": bool(row["failed"]),
        "request_id": row["request_id"],
        **{name: row[name] for name in _MORE},
    }


_MORE = (
    "event_key", "provider", "endpoint", "auth_type", "requested_model", "attempt", "final", "status_code",
    "error_code", "fail_body", "ttft_ms", "stream", "client_format", "upstream_format", "uncached_tokens",
    "cache_creation_1h_tokens", "estimated", "cost_nanos", "reasoning_effort", "service_tier",
    "response_service_tier", "user_agent", "client_ip",
)  # fmt: skip
"""What our exports say beyond CLIProxyAPI's, so that nothing is lost and nothing comes in twice."""


def export_jsonl(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    """One event per line, in pieces."""
    return _pieces(
        orjson.dumps({**_detail(row), "api_group_key": row["api_group_key"], "model": row["model"]}) + b"\n"
        for row in every_event(connection, wanted)
    )


def export_csv(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    """A table with a head line, in pieces; texts that a spreadsheet would run as a formula are quoted."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(CSV_COLUMNS)
    for row in every_event(connection, wanted):
        writer.writerow([_harmless(row[name]) for name in CSV_COLUMNS])
        if buffer.tell() > PIECE:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def import_json(run: Run, content: bytes) -> Imported:
    """Take an export of either program, or JSON lines. What is there already stays once.

    ``run`` does a piece of work in a transaction of its own. Raises WrongImport, and what ``run`` raises.
    """
    stripped = content.lstrip()
    if _is_lines(stripped):
        return _import(run, _lines(stripped))
    try:
        data: Any = orjson.loads(stripped)
    except orjson.JSONDecodeError:
        raise WrongImport("invalid json") from None
    if not isinstance(data, dict):
        raise WrongImport("invalid usage snapshot")
    if data.get("version", 0) not in (0, 1):
        raise WrongImport("unsupported version")
    snapshot = data.get("usage", data)
    apis = snapshot.get("apis") if isinstance(snapshot, dict) else None
    if not isinstance(apis, dict):
        raise WrongImport("invalid usage snapshot")
    return _import(run, _details(apis))


def _is_lines(content: bytes) -> bool:
    """Whether the first line is an event by itself."""
    line, _, rest = content.partition(b"\n")
    try:
        first = orjson.loads(line)
    except orjson.JSONDecodeError:
        return rest.lstrip().startswith(b"{")
    return isinstance(first, dict) and not {"usage", "apis"} & first.keys() and ("timestamp" in first or bool(rest))


def _details(apis: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    for group, api in apis.items():
        models = api.get("models") if isinstance(api, dict) else None
        for model, entry in models.items() if isinstance(models, dict) else ():
            details = entry.get("details") if isinstance(entry, dict) else None
            for detail in details if isinstance(details, list) else ():
                yield {**detail, "api_group_key": group, "model": model} if isinstance(detail, dict) else None


def _lines(content: bytes) -> Iterator[dict[str, Any] | None]:
    for line in io.BytesIO(content):
        if line.strip():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                row = None
            yield row if isinstance(row, dict) else None


def _import(run: Run, rows: Iterator[dict[str, Any] | None]) -> Imported:
    done = Imported()
    while batch := list(islice(rows, BATCH)):
        events = [event for row in batch if row is not None and (event := _event(row)) is not None]
        done.failed += len(batch) - len(events)
        added = run(lambda connection, events=events: _take(connection, events))  # type: ignore[misc]
        done.added += added
        done.skipped += len(events) - added
    return done


def _take(connection: sqlite3.Connection, events: list[Event]) -> int:
    unknown = [event for event in events if event.key or not _known(connection, event)]
    for event in unknown:
        event.key = event.key or event.event_key()
    return len(add(connection, unknown, int(time.time() * 1000)))


def _event(row: dict[str, Any]) -> Event | None:
    try:
        count = {name: _count(value) for name, value in (row.get("tokens") or {}).items()}
        failed = bool(row.get("failed"))
        at_ms = parse_timestamp(str(row["timestamp"]))
        if not 0 <= at_ms <= LATEST_MS:
            return None
        return Event(
            group=str(row["api_group_key"]),
            model=str(row["model"]),
            at_ms=at_ms,
            provider=str(row.get("provider") or ""),
            endpoint=str(row.get("endpoint") or ""),
            auth_type=str(row.get("auth_type") or ""),
            request_id=str(row.get("request_id") or ""),
            requested_model=str(row.get("requested_model") or ""),
            source=str(row.get("source") or ""),
            auth_index=str(row.get("auth_index") or ""),
            failed=failed,
            latency_ms=_count(row.get("latency_ms")),
            tokens=Tokens(
                input=count.get("input_tokens", 0),
                output=count.get("output_tokens", 0),
                reasoning=count.get("reasoning_tokens", 0),
                cached=count.get("cached_tokens", 0),
                cache_read=count.get("cache_read_tokens", 0),
                cache_creation=count.get("cache_creation_tokens", 0),
                total=count.get("total_tokens", 0),
                uncached=_count(row.get("uncached_tokens")),
                cache_creation_1h=_count(row.get("cache_creation_1h_tokens")),
            ),
            attempt=_count(row.get("attempt", 1)),
            final=bool(row.get("final", True)),
            status=_count(row.get("status_code")) or (500 if failed else 200),
            error=str(row.get("error_code") or ""),
            fail_body=str(row.get("fail_body") or ""),
            ttft_ms=_perhaps(row.get("ttft_ms")),
            stream=bool(row.get("stream")),
            client_format=str(row.get("client_format") or ""),
            upstream_format=str(row.get("upstream_format") or ""),
            estimated=bool(row.get("estimated")),
            reasoning_effort=str(row.get("reasoning_effort") or ""),
            service_tier=str(row.get("service_tier") or ""),
            response_service_tier=str(row.get("response_service_tier") or ""),
            user_agent=str(row.get("user_agent") or ""),
            client_ip=str(row.get("client_ip") or ""),
            cost_nanos=_perhaps(row.get("cost_nanos")),
            key=str(row.get("event_key") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _count(value: Any) -> int:
    """A number that the database takes; raises ValueError for one that nobody counted."""
    number = max(0, int(value or 0))
    if number > _LARGEST:
        raise ValueError("too large a number")
    return number


def _perhaps(value: Any) -> int | None:
    return None if value is None else _count(value)


def _known(connection: sqlite3.Connection, event: Event) -> bool:
    """Whether an event of a foreign export, which does not say where it came from, is there already."""
    row = connection.execute(
        "SELECT 1 FROM usage_events WHERE ts_ms = ? AND model = ? AND source = ? AND auth_index = ? AND failed = ? "
        "AND input_tokens = ? AND output_tokens = ? AND total_tokens = ? AND api_group_key = ? "
        "AND (request_id = ? OR '' IN (request_id, ?)) LIMIT 1",
        (
            event.at_ms,
            event.model,
            event.source,
            event.auth_index,
            int(event.failed),
            event.tokens.input,
            event.tokens.output,
            event.tokens.total,
            event.group,
            event.request_id,
            event.request_id,
        ),
    ).fetchone()
    return row is not None
