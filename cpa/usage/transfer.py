"""Events into the database, out of an export of CLIProxyAPI or of cpa, each once."""

from __future__ import annotations

import codecs
import io
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Set
from itertools import islice
from typing import Any

import orjson
from msgspec import DecodeError, Raw, Struct, ValidationError, json

from cpa.errors import CpaError
from cpa.usage.event import LATEST_MS, Event, parse_timestamp
from cpa.usage.in_clear import PROVIDERS, account_of, client_of
from cpa.usage.insert import add
from cpa.usage.tokens import Tokens

BATCH = 1000
PIECE = 65536
LONGEST_TEXT = 1024
"""Characters of a name, an id, a model. What has more is no event."""
_LARGEST = 10**15
_NO_JSON = (DecodeError, orjson.JSONDecodeError, RecursionError)
_MEMBERS = json.Decoder(dict[str, Raw])
_ITEMS = json.Decoder(list[Raw])
"""Both look for the ends of values and leave them as they are: to make values of all at once would keep the event loop
waiting, whatever thread does it."""
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
    stripped, names = content.removeprefix(codecs.BOM_UTF8).lstrip(), frozenset({*PROVIDERS, *providers})
    if _is_lines(stripped):
        return _import(run, _lines(stripped), names)
    try:
        data = _MEMBERS.decode(stripped)
        if orjson.loads(memoryview(data.get("version", b"0"))) not in (0, 1):
            raise WrongImport("unsupported version")
    except ValidationError:
        raise WrongImport("invalid usage snapshot") from None
    except _NO_JSON:
        raise WrongImport("invalid json") from None
    apis = _members(data.get("usage", stripped)).get("apis")
    if apis is None or bytes(memoryview(apis)[:1]) != b"{":
        raise WrongImport("invalid usage snapshot")
    return _import(run, _details(apis), names)


def _is_lines(content: bytes) -> bool:
    """Whether the first line is an event by itself."""
    line, _, rest = content.partition(b"\n")
    try:
        first = _MEMBERS.decode(line)
    except ValidationError:
        return False
    except _NO_JSON:
        return rest.lstrip().startswith(b"{")
    return not {"usage", "apis"} & first.keys() and ("timestamp" in first or bool(rest))


def _members(value: bytes | Raw | None) -> dict[str, Raw]:
    """Members of an object; none of anything else."""
    try:
        return {} if value is None else _MEMBERS.decode(value)
    except _NO_JSON:
        return {}


def _details(apis: Raw) -> Iterator[dict[str, Any] | None]:
    for group, api in _members(apis).items():
        for model, entry in _members(_members(api).get("models")).items():
            try:
                details = _ITEMS.decode(_members(entry).get("details", b"[]"))
            except _NO_JSON:
                continue
            for each in details:
                detail = _object(each)
                yield None if detail is None else {**detail, "api_group_key": group, "model": model}


def _object(text: bytes | Raw) -> dict[str, Any] | None:
    try:
        value = orjson.loads(memoryview(text))
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _lines(content: bytes) -> Iterator[dict[str, Any] | None]:
    for line in io.BytesIO(content):
        if line.strip():
            yield _object(line)


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
        group, provider, endpoint = _text(row["api_group_key"]), _text(row.get("provider")), _text(row.get("endpoint"))
        source, auth_type = _text(row.get("source")), _text(row.get("auth_type"))
        if "attempt" not in row:  # which only our exports say; others name clients by their keys
            group = client_of(group, names | {provider, endpoint})
            source = account_of(source, auth_type, provider)
        count = {name: _count(value) for name, value in (row.get("tokens") or {}).items()}
        failed = bool(row.get("failed"))
        at_ms = parse_timestamp(str(row["timestamp"]))
        if not 0 <= at_ms <= LATEST_MS:
            return None
        return Event(
            group=group,
            model=_text(row["model"]),
            at_ms=at_ms,
            provider=provider,
            endpoint=endpoint,
            auth_type=auth_type,
            request_id=_text(row.get("request_id")),
            requested_model=_text(row.get("requested_model")),
            source=source,
            auth_index=_text(row.get("auth_index")),
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
            error=_text(row.get("error_code")),
            fail_body=str(row.get("fail_body") or ""),
            ttft_ms=_perhaps(row.get("ttft_ms")),
            stream=bool(row.get("stream")),
            client_format=_text(row.get("client_format")),
            upstream_format=_text(row.get("upstream_format")),
            estimated=bool(row.get("estimated")),
            reasoning_effort=_text(row.get("reasoning_effort")),
            service_tier=_text(row.get("service_tier")),
            response_service_tier=_text(row.get("response_service_tier")),
            user_agent=_text(row.get("user_agent")),
            client_ip=_text(row.get("client_ip")),
            cost_nanos=_perhaps(row.get("cost_nanos")),
            key=_text(row.get("event_key")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _text(value: Any) -> str:
    """A text of a size that one may have that is told apart by it; raises ValueError for a longer one."""
    text = str(value or "")
    if len(text) > LONGEST_TEXT:
        raise ValueError("too long a text")
    return text


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
