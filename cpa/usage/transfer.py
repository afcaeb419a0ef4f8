"""Events into the database, out of an export of CLIProxyAPI or of cpa, each once."""

from __future__ import annotations

import io
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Set
from itertools import islice
from typing import Any

import orjson
from msgspec import Struct

from cpa.errors import CpaError
from cpa.usage.event import LATEST_MS, Event, parse_timestamp
from cpa.usage.in_clear import PROVIDERS, account_of, client_of
from cpa.usage.insert import add
from cpa.usage.tokens import Tokens

BATCH = 1000
PIECE = 65536
_LARGEST = 10**15
Run = Callable[[Callable[[sqlite3.Connection], int]], int]


class WrongImport(CpaError):
    """What is to be imported is no export."""


class Imported(Struct):
    """What an import did."""

    added: int = 0
    skipped: int = 0
    """Events that were there already."""
    failed: int = 0
    """Rows that are no events."""


def import_json(run: Run, content: bytes, providers: Collection[str] = ()) -> Imported:
    """Take an export of either program, or JSON lines. What is there already stays once.

    ``run`` does a piece of work in a transaction of its own; ``providers`` are names that are no keys of clients.
    Raises WrongImport, and what ``run`` raises.
    """
    stripped, names = content.lstrip(), frozenset({*PROVIDERS, *providers})
    if _is_lines(stripped):
        return _import(run, _lines(stripped), names)
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
    return _import(run, _details(apis), names)


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


def _import(run: Run, rows: Iterator[dict[str, Any] | None], names: Set[str]) -> Imported:
    done = Imported()
    while batch := list(islice(rows, BATCH)):
        events = [event for row in batch if row is not None and (event := _event(row, names)) is not None]
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


def _event(row: dict[str, Any], names: Set[str]) -> Event | None:
    try:
        group, provider, endpoint = str(row["api_group_key"]), row.get("provider") or "", row.get("endpoint") or ""
        source, auth_type = str(row.get("source") or ""), str(row.get("auth_type") or "")
        if "attempt" not in row:  # which only our exports say; others name clients by their keys
            group = client_of(group, names | {str(provider), str(endpoint)})
            source = account_of(source, auth_type, str(provider))
        count = {name: _count(value) for name, value in (row.get("tokens") or {}).items()}
        failed = bool(row.get("failed"))
        at_ms = parse_timestamp(str(row["timestamp"]))
        if not 0 <= at_ms <= LATEST_MS:
            return None
        return Event(
            group=group,
            model=str(row["model"]),
            at_ms=at_ms,
            provider=str(provider),
            endpoint=str(endpoint),
            auth_type=auth_type,
            request_id=str(row.get("request_id") or ""),
            requested_model=str(row.get("requested_model") or ""),
            source=source,
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
        "SELECT 1 FROM usage_events WHERE ts_ms = ? AND model = ? AND auth_index = ? AND failed = ? "
        "AND input_tokens = ? AND output_tokens = ? AND total_tokens = ? AND (source = ? OR auth_index <> '') "
        "AND (api_group_key = ? AND '' IN (request_id, ?) OR request_id = nullif(?, '')) LIMIT 1",
        (
            event.at_ms,
            event.model,
            event.auth_index,
            int(event.failed),
            event.tokens.input,
            event.tokens.output,
            event.tokens.total,
            event.source,
            event.group,
            event.request_id,
            event.request_id,
        ),
    ).fetchone()
    return row is not None
