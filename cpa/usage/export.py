"""Events out of the database: JSON as CLIProxyAPI writes it, JSON lines, CSV.

Everything is read in pieces of a thousand rows, so that writing is not held up however slowly an export is taken.
"""

from __future__ import annotations

import csv
import io
import sqlite3
import time
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import orjson

from cpa.usage.event import LATEST_MS, timestamp
from cpa.usage.filters import EventFilter
from cpa.usage.search import Search, Stretch, joined
from cpa.usage.tokens import TOKEN_COLUMNS

CHUNK = 1000
PIECE = 65536
HELD = 500_000
"""Numbers of events held in memory, before they go into a file."""
CSV_COLUMNS = (
    "timestamp", "api_group_key", "provider", "endpoint", "auth_type", "request_id", "model", "requested_model",
    "source", "auth_index", "failed", "status_code", "error_code", "attempt", "final", "latency_ms", "ttft_ms",
    "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_read_tokens",
    "cache_creation_tokens", "total_tokens", "cost_nanos", "stream", "reasoning_effort", "service_tier",
    "response_service_tier", "client_ip", "user_agent",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_FOREIGN = ("timestamp", "latency_ms", "source", "auth_index", "request_id")
_MORE = (
    "event_key", "provider", "endpoint", "auth_type", "requested_model", "attempt", "final", "status_code",
    "error_code", "fail_body", "ttft_ms", "stream", "client_format", "upstream_format", "uncached_tokens",
    "cache_creation_1h_tokens", "estimated", "cost_nanos", "reasoning_effort", "service_tier",
    "response_service_tier", "user_agent", "client_ip",
)  # fmt: skip
"""What our exports say beyond CLIProxyAPI's, so that nothing is lost and nothing comes in twice."""
_DETAIL = (*TOKEN_COLUMNS, "failed", *_FOREIGN, *_MORE)
_NAMES = ("api_group_key", "model")
_PLAIN = _DETAIL[len(TOKEN_COLUMNS) + 1 :]

Row = tuple[Any, ...]


def export_jsonl(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    """One event per line, in pieces."""
    names = (*_PLAIN, *_NAMES)
    return _pieces(
        orjson.dumps(_detail(row, names), option=orjson.OPT_APPEND_NEWLINE)
        for row in _every(connection, wanted, (*_DETAIL, *_NAMES))
    )


def export_csv(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    """A table with a head line, in pieces; texts that a spreadsheet would run as a formula are quoted."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(CSV_COLUMNS)
    for row in _every(connection, wanted, CSV_COLUMNS):
        writer.writerow(map(_harmless, row))
        if buffer.tell() > PIECE:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def export_json(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    """``{"version": 1, "exported_at": ..., "usage": {...}}`` in pieces; read back by CLIProxyAPI and by cpa."""
    return _pieces(_json(connection, wanted))


def _json(connection: sqlite3.Connection, wanted: EventFilter) -> Iterator[bytes]:
    with SpooledTemporaryFile(max_size=8 * HELD) as file:
        models = _Models(connection, wanted, file)
        entries = models.in_order()
        yield b'{"version":1,"exported_at":' + orjson.dumps(timestamp(int(time.time() * 1000))) + b',"usage":{'
        yield _totals([entry for _, entry in entries], successes=True) + b',"apis":{'
        for number, (group, of_group) in enumerate(groupby(entries, key=lambda each: each[0][0])):
            these = list(of_group)
            yield (b"," if number else b"") + orjson.dumps(group) + b":{" + _totals([each for _, each in these])
            yield b',"models":{'
            for index, ((_, model), entry) in enumerate(these):
                yield (b"," if index else b"") + orjson.dumps(model) + b":{" + _totals([entry]) + b',"details":['
                for place, row in enumerate(models.rows(entry)):
                    yield (b"," if place else b"") + orjson.dumps(_detail(row, _PLAIN))
                yield b"]}"
            yield b"}}"
        yield b"}}}"


class _Model:
    """The events of one client and model: how many, and their numbers."""

    def __init__(self) -> None:
        self.count = self.failed = self.tokens = 0
        self.held = array("q")
        self.kept: list[tuple[int, int]] = []
        """Where in the file there are more, earlier ones: offset and size."""


class _Models:
    """Tells events apart by client and model, in the order of their time. Numbers that are many wait in a file."""

    def __init__(self, connection: sqlite3.Connection, wanted: EventFilter, file: IO[bytes]) -> None:
        self._connection = connection
        self._file = file
        self._models: dict[tuple[str, str], _Model] = {}
        held = 0
        for group, model, failed, tokens, number in _every(
            connection, wanted, (*_NAMES, "failed", "total_tokens", "id")
        ):
            entry = self._models.get((group, model))
            if entry is None:
                entry = self._models[group, model] = _Model()
            entry.count += 1
            entry.failed += failed
            entry.tokens += tokens
            entry.held.append(number)
            held += 1
            if held == HELD:
                self._put_aside()
                held = 0

    def in_order(self) -> list[tuple[tuple[str, str], _Model]]:
        """By client, then by model."""
        return sorted(self._models.items(), key=lambda each: each[0])

    def rows(self, entry: _Model) -> Iterator[Row]:
        """The events of one of them."""
        query = f"""
            SELECT {", ".join(_DETAIL)} FROM usage_events WHERE id IN (SELECT value FROM json_each(?))
            ORDER BY ts_ms, id"""  # noqa: S608
        for numbers in self._numbers(entry):
            for at in range(0, len(numbers), CHUNK):
                yield from _tuples(self._connection, query, [orjson.dumps(numbers[at : at + CHUNK].tolist()).decode()])

    def _numbers(self, entry: _Model) -> Iterator[array[int]]:
        for offset, size in entry.kept:
            self._file.seek(offset)
            yield array("q", self._file.read(size))
        yield entry.held

    def _put_aside(self) -> None:
        for entry in self._models.values():
            if entry.held:
                content = entry.held.tobytes()
                entry.kept.append((self._file.seek(0, io.SEEK_END), len(content)))
                self._file.write(content)
                entry.held = array("q")


def _totals(entries: list[_Model], *, successes: bool = False) -> bytes:
    """The counters of an object, without its braces."""
    counted, failed = sum(entry.count for entry in entries), sum(entry.failed for entry in entries)
    totals = {"total_requests": counted, "total_tokens": sum(entry.tokens for entry in entries)}
    if successes:
        totals |= {"success_count": counted - failed, "failure_count": failed}
    return orjson.dumps(totals)[1:-1]


def _every(connection: sqlite3.Connection, wanted: EventFilter, columns: Sequence[str]) -> Iterator[Row]:
    """All events of a filter, the oldest first."""
    place, of_place = wanted.of_place()
    where, values = wanted.of_attempt()
    query = f"""
        SELECT {", ".join(columns)}, ts_ms, id FROM usage_events
        WHERE (ts_ms, id) > (?, ?) AND ts_ms <= ? AND {where} AND {wanted.of_status()} AND {place or "1"}
        ORDER BY ts_ms, id LIMIT {CHUNK}"""  # noqa: S608
    for first_ms, last_ms in _stretches(connection, wanted):
        at: Row | None = (first_ms - 1, LATEST_MS)
        while at is not None:
            for row in (rows := _tuples(connection, query, [*at, last_ms, *values, *of_place])):
                yield row[:-2]
            at = rows[-1][-2:] if len(rows) == CHUNK else None


def _stretches(connection: sqlite3.Connection, wanted: EventFilter) -> list[Stretch]:
    """Where in time there may be events of a filter, the oldest first. What is recorded meanwhile may be left out."""
    connection.execute("SAVEPOINT stretches")
    try:
        search = Search(connection, wanted)
        if not wanted.of_place()[0] and wanted.failed is None and not wanted.is_unusual:
            return [search.span]
        return joined(search.quarters(search.span))[::-1]
    finally:
        connection.execute("RELEASE stretches")


def _tuples(connection: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[Row]:
    """Rows without the names of their columns, whose looking up takes longer than reading them."""
    cursor = connection.cursor()
    cursor.row_factory = None
    return cursor.execute(query, values).fetchall()


def _detail(row: Row, names: Sequence[str]) -> dict[str, Any]:
    count = len(TOKEN_COLUMNS)
    detail = dict(zip(names, row[count + 1 :], strict=True))
    detail["tokens"] = dict(zip(TOKEN_COLUMNS, row, strict=False))
    detail["failed"] = bool(row[count])
    return detail


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


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
