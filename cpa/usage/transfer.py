"""Events out of the database and into another one: JSON as CLIProxyAPI writes it, JSON lines, CSV."""

from __future__ import annotations

import csv
import io
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import orjson
from msgspec import Struct

from cpa.errors import CpaError
from cpa.usage.event import Event, Tokens, parse_timestamp, shown_event, shown_tokens, timestamp
from cpa.usage.insert import insert
from cpa.usage.queries import EventFilter, every_event

BATCH = 1000
CSV_COLUMNS = (
    "timestamp", "api_group_key", "provider", "endpoint", "auth_type", "request_id", "model", "requested_model",
    "source", "auth_index", "failed", "status_code", "error_code", "attempt", "final", "latency_ms", "ttft_ms",
    "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_read_tokens",
    "cache_creation_tokens", "total_tokens", "cost_nanos",
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
    """``{"version": 1, "exported_at": ..., "usage": {...}}`` piece by piece; read back by CLIProxyAPI and by cpa."""
    groups: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in every_event(connection, wanted):
        groups.setdefault(row["api_group_key"], {}).setdefault(row["model"], []).append(_detail(row))
    yield b'{"version":1,"exported_at":' + orjson.dumps(timestamp(int(time.time() * 1000))) + b',"usage":{'
    rows = [detail for models in groups.values() for details in models.values() for detail in details]
    totals = {
        "total_requests": len(rows),
        "success_count": sum(not detail["failed"] for detail in rows),
        "failure_count": sum(detail["failed"] for detail in rows),
        "total_tokens": sum(detail["tokens"]["total_tokens"] for detail in rows),
    }
    yield orjson.dumps(totals)[1:-1] + b',"apis":{'
    for number, (group, models) in enumerate(groups.items()):
        shown = {
            "total_requests": sum(map(len, models.values())),
            "total_tokens": sum(d["tokens"]["total_tokens"] for details in models.values() for d in details),
            "models": {
                model: {
                    "total_requests": len(details),
                    "total_tokens": sum(detail["tokens"]["total_tokens"] for detail in details),
                    "details": details,
                }
                for model, details in models.items()
            },
        }
        yield (b"," if number else b"") + orjson.dumps(group) + b":" + orjson.dumps(shown)
    yield b"}}}"


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
    "cache_creation_1h_tokens", "estimated", "cost_nanos",
)  # fmt: skip
"""What our exports say beyond CLIProxyAPI's, so that nothing is lost and nothing comes in twice."""


def export_jsonl(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    """One event per line."""
    for row in every_event(connection, wanted):
        line = {**_detail(row), "api_group_key": row["api_group_key"], "model": row["model"]}
        yield orjson.dumps(line) + b"\n"


def export_csv(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    """A table with a head line; texts that a spreadsheet would run as a formula are quoted."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(CSV_COLUMNS)
    for row in every_event(connection, wanted):
        writer.writerow([_harmless(row[name]) for name in CSV_COLUMNS])
        if buffer.tell() > 65536:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def import_json(connection: sqlite3.Connection, content: bytes) -> Imported:
    """Take an export of either program, or JSON lines. What is there already stays once. Raises WrongImport."""
    stripped = content.lstrip()
    if stripped.startswith(b"{") and b'"apis"' not in content and b'"usage"' not in content and b"\n{" in stripped:
        return _import(connection, _lines(content))
    try:
        data: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        if b"\n{" in stripped:
            return _import(connection, _lines(content))
        raise WrongImport("invalid json") from None
    if not isinstance(data, dict):
        raise WrongImport("invalid usage snapshot")
    if data.get("version", 0) not in (0, 1):
        raise WrongImport("unsupported version")
    snapshot = data.get("usage", data)
    apis = snapshot.get("apis") if isinstance(snapshot, dict) else None
    if not isinstance(apis, dict):
        raise WrongImport("invalid usage snapshot")
    return _import(connection, _details(apis))


def _details(apis: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    for group, api in apis.items():
        models = api.get("models") if isinstance(api, dict) else None
        for model, entry in models.items() if isinstance(models, dict) else ():
            details = entry.get("details") if isinstance(entry, dict) else None
            for detail in details if isinstance(details, list) else ():
                yield {**detail, "api_group_key": group, "model": model} if isinstance(detail, dict) else None


def _lines(content: bytes) -> Iterator[dict[str, Any] | None]:
    for line in content.splitlines():
        if line.strip():
            try:
                row = orjson.loads(line)
            except orjson.JSONDecodeError:
                row = None
            yield row if isinstance(row, dict) else None


def _import(connection: sqlite3.Connection, rows: Iterator[dict[str, Any] | None]) -> Imported:
    done = Imported()
    batch: list[Event] = []

    def write() -> None:
        added = insert(connection, batch, int(time.time() * 1000))
        done.added += added
        done.skipped += len(batch) - added
        batch.clear()

    for row in rows:
        event = _event(row) if row is not None else None
        if event is None:
            done.failed += 1
        elif not event.key and _known(connection, event):
            done.skipped += 1
        else:
            batch.append(event)
            if len(batch) >= BATCH:
                write()
    write()
    return done


def _event(row: dict[str, Any]) -> Event | None:
    tokens = row.get("tokens")
    try:
        count = {name: max(0, int(value)) for name, value in (tokens or {}).items()}
        failed = bool(row.get("failed"))
        return Event(
            group=str(row["api_group_key"]),
            model=str(row["model"]),
            at_ms=parse_timestamp(str(row["timestamp"])),
            provider=str(row.get("provider") or ""),
            endpoint=str(row.get("endpoint") or ""),
            auth_type=str(row.get("auth_type") or ""),
            request_id=str(row.get("request_id") or ""),
            requested_model=str(row.get("requested_model") or ""),
            source=str(row.get("source") or ""),
            auth_index=str(row.get("auth_index") or ""),
            failed=failed,
            latency_ms=int(row.get("latency_ms") or 0),
            tokens=Tokens(
                input=count.get("input_tokens", 0),
                output=count.get("output_tokens", 0),
                reasoning=count.get("reasoning_tokens", 0),
                cached=count.get("cached_tokens", 0),
                cache_read=count.get("cache_read_tokens", 0),
                cache_creation=count.get("cache_creation_tokens", 0),
                total=count.get("total_tokens", 0),
                uncached=int(row.get("uncached_tokens") or 0),
                cache_creation_1h=int(row.get("cache_creation_1h_tokens") or 0),
            ),
            attempt=int(row.get("attempt", 1)),
            final=bool(row.get("final", True)),
            status=int(row.get("status_code") or (500 if failed else 200)),
            error=str(row.get("error_code") or ""),
            fail_body=str(row.get("fail_body") or ""),
            ttft_ms=row.get("ttft_ms"),
            stream=bool(row.get("stream")),
            client_format=str(row.get("client_format") or ""),
            upstream_format=str(row.get("upstream_format") or ""),
            estimated=bool(row.get("estimated")),
            cost_nanos=row.get("cost_nanos"),
            key=str(row.get("event_key") or ""),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _known(connection: sqlite3.Connection, event: Event) -> bool:
    """Whether an event of a foreign export, which does not say where it came from, is there already."""
    row = connection.execute(
        "SELECT 1 FROM usage_events WHERE ts_ms = ? AND model = ? AND source = ? AND auth_index = ? AND failed = ? "
        "AND input_tokens = ? AND output_tokens = ? AND total_tokens = ? AND api_group_key = ? LIMIT 1",
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
        ),
    ).fetchone()
    return row is not None


__all__ = ["Imported", "WrongImport", "export_csv", "export_json", "export_jsonl", "import_json", "shown_event"]
