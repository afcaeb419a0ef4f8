"""Request histories in the usage database: found and read, whoever stored them."""

from __future__ import annotations

import re
import sqlite3
import zlib
from collections.abc import Callable
from typing import Any

import orjson
from msgspec import Struct

from cpa.usage.event import parse_timestamp, timestamp
from cpa.usage.history_batches import unpack
from cpa.usage.history_heads import (
    Head,
    bodies_of,
    decode_heads,
    facts_of,
    parts_of_head,
    request_of_head,
    sizes_of,
)
from cpa.usage.history_names import log_name
from cpa.usage.history_parts import HistoryParts, decode_parts
from cpa.usage.history_text import Section, attempt_facts, text_of

Unpacked = tuple[bytes, list[Any], list[Any]]
"""The text, where its sections are, and what is known of the attempts."""
_NAME = re.compile(r".*-\d{4}-\d\d-\d\dT\d{6}-(.+)\.log", re.DOTALL)
_SUMMARY = (
    "id, request_id, log_name, url, method, status_code, force, request_timestamp, "
    "length(log_text_gzip) AS size, created_at, detail"
)
_BATCH = """
SELECT id, count, forced, created_ms, request_ids, heads, length(heads) + length(bodies) AS size
FROM request_history_batches WHERE id <= ? AND id + count > ? ORDER BY id DESC LIMIT 1"""
_FORCED = """
SELECT id FROM request_histories WHERE force = 1 UNION ALL SELECT id FROM request_history_batches WHERE forced = 1
ORDER BY id DESC"""
MOST_BATCHES = 8
"""Kept while many histories are read."""


class History(Struct, kw_only=True):
    """What is listed of a history, and how to read the rest, on the connection it was found on."""

    id: int
    request_id: str
    log_name: str
    url: str = ""
    method: str = ""
    status: int = 0
    forced: bool = False
    """Kept because the request failed, while ``request-log`` was off."""
    begun: str | None = None
    """RFC 3339."""
    created_ms: int = 0
    size: int = 0
    """Bytes that it takes; an average in a batch."""
    facts: dict[str, Any] = {}
    unpacked: Callable[[], Unpacked]
    """Raises ValueError and zlib.error when it is damaged."""


class _Batch(Struct):
    """A batch while its histories are read."""

    row: sqlite3.Row
    names: list[str]
    heads: list[Head | None]
    fault: str = ""
    """Why there are no heads."""


class HistoryReader:
    """Reads histories by their ids; what stands in one batch is unpacked once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._batches: list[_Batch] = []

    def at(self, history_id: int) -> History | None:
        """The history; None when there is none. Raises sqlite3.Error."""
        batch = self._batch(history_id)
        if batch is not None:
            return self._in_batch(batch, history_id - batch.row["id"])
        query = f"SELECT {_SUMMARY} FROM request_histories WHERE id = ?"  # noqa: S608
        row = self._connection.execute(query, (history_id,)).fetchone()
        return None if row is None else self._alone(row)

    def _batch(self, history_id: int) -> _Batch | None:
        for batch in self._batches:
            if batch.row["id"] <= history_id < batch.row["id"] + batch.row["count"]:
                return batch
        row = self._connection.execute(_BATCH, (history_id, history_id)).fetchone()
        if row is None:
            return None
        batch = _Batch(row, row["request_ids"].split("\n"), [])
        try:
            batch.heads = decode_heads(unpack(row["heads"]))
            if len(batch.heads) != row["count"]:
                raise ValueError("heads are missing")
        except (zlib.error, ValueError) as fault:
            batch.heads, batch.fault = [], str(fault)
        self._batches = [*self._batches[1 - MOST_BATCHES :], batch]
        return batch

    def _in_batch(self, batch: _Batch, number: int) -> History | None:
        name = batch.names[number]
        if not name:
            return None
        history = History(
            id=batch.row["id"] + number,
            request_id=name,
            log_name=f"{name}.log",
            forced=bool(batch.row["forced"]),
            created_ms=batch.row["created_ms"],
            size=batch.row["size"] // batch.row["count"],
            unpacked=lambda: _read(self._parts(batch, number)),
        )
        head = batch.heads[number] if batch.heads else None
        if head is not None:
            try:
                history.url, history.method = request_of_head(head)
                history.facts = facts_of(head)
            except ValueError:
                return history
            history.status, history.begun = head.status, timestamp(int(head.begun * 1000))
            path = history.url.partition("?")[0]
            history.log_name = log_name(path, head.begun, name, forced=history.forced)
        return history

    def _parts(self, batch: _Batch, number: int) -> HistoryParts:
        head = batch.heads[number] if batch.heads else None
        if head is None:
            raise ValueError(batch.fault or "it is empty")
        query = "SELECT bodies FROM request_history_batches WHERE id = ?"
        content = unpack(self._connection.execute(query, (batch.row["id"],)).fetchone()[0])
        return parts_of_head(head, bodies_of(head, content, sum(sizes_of(batch.heads[:number]))))

    def _alone(self, row: sqlite3.Row) -> History:
        detail = _detail(row)
        facts = detail.get("facts", {})
        return History(
            id=row["id"],
            request_id=row["request_id"],
            log_name=row["log_name"],
            url=row["url"],
            method=row["method"],
            status=row["status_code"],
            forced=bool(row["force"]),
            begun=row["request_timestamp"],
            created_ms=_milliseconds(row["created_at"]),
            size=row["size"],
            facts=facts if isinstance(facts, dict) else {},
            unpacked=lambda: self._text(row["id"], detail),
        )

    def _text(self, history_id: int, detail: dict[str, Any]) -> Unpacked:
        """Of a history that has a row of its own, with its parts or, from CLIProxyAPI, the text itself.

        In texts of earlier versions a section whose body ends like that of an earlier one has three members more: the
        number of that one, the byte after its own part, and how many of the other's last bytes follow.
        """
        query = "SELECT log_text_gzip FROM request_histories WHERE id = ?"
        content = zlib.decompress(self._connection.execute(query, (history_id,)).fetchone()[0], wbits=47)
        if (parts := decode_parts(content)) is not None:
            return _read(parts)
        sections = detail.get("sections", [])
        return content, sections if isinstance(sections, list) else [], detail.get("attempts", [])


def _read(parts: HistoryParts) -> Unpacked:
    sections: list[Section]
    text, sections = text_of(parts)
    return text, sections, attempt_facts(parts)


def find_history(connection: sqlite3.Connection, request_id: str) -> History | None:
    """The history of a request. Raises sqlite3.Error."""
    query = "SELECT history_id FROM request_history_ids WHERE request_id = ?"
    found = connection.execute(query, (request_id,)).fetchone()
    return None if found is None else HistoryReader(connection).at(found[0])


def find_error_log(connection: sqlite3.Connection, name: str) -> History | None:
    """The history of a failed request by its file name; only those that were kept because they failed."""
    query = "SELECT id FROM request_histories WHERE log_name = ? AND force = 1"
    found = connection.execute(query, (name,)).fetchone()
    if found is not None:
        return HistoryReader(connection).at(found[0])
    parts = _NAME.fullmatch(name)
    history = find_history(connection, parts[1]) if parts is not None else None
    return history if history is not None and history.forced and history.log_name == name else None


def error_logs(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Names, sizes and dates of failed requests, the newest first."""
    reader = HistoryReader(connection)
    found = [reader.at(row["id"]) for row in connection.execute(_FORCED).fetchall()]
    return [
        {"name": history.log_name, "size": history.size, "modified": history.created_ms // 1000}
        for history in found
        if history is not None
    ]


def summary(history: History) -> dict[str, Any]:
    """A history without its text."""
    return {
        "id": history.id,
        "request_id": history.request_id,
        "log_name": history.log_name,
        "url": history.url,
        "method": history.method,
        "status": history.status,
        "forced": history.forced,
        "timestamp": history.begun,
        **history.facts,
    }


def history_text(history: History) -> bytes:
    """The text of a history, or that it is damaged. Takes a while for a large one."""
    return _in_full(*_unpacked(history)[:2])


def history_json(history: History) -> dict[str, Any]:
    """All of a history as JSON: what is known, each attempt, and the text of each section."""
    text, sections, attempts = _unpacked(history)
    shown = [
        {"title": title, "lines": _text(text[begin:body]).splitlines(), "text": _text(_body(text, sections, number))}
        for number, (title, begin, body, *_) in enumerate(sections)
    ]
    if not shown:
        shown = [{"title": "TEXT", "lines": [], "text": _text(text)}]
    return summary(history) | {"attempts": attempts, "sections": shown}


def _unpacked(history: History) -> Unpacked:
    try:
        return history.unpacked()
    except (zlib.error, ValueError) as fault:
        return f"[DAMAGED: it cannot be unpacked: {fault}]\n".encode(), [], []


def _in_full(text: bytes, sections: list[Any]) -> bytes:
    """The text with every body in its place."""
    pieces: list[bytes] = []
    at = 0
    for number, (_, _, body, end, *shared) in enumerate(sections):
        if shared:
            pieces += (text[at:body], _body(text, sections, number))
            at = end
    return b"".join([*pieces, text[at:]]) if pieces else text


def _body(text: bytes, sections: list[Any], number: int) -> bytes:
    """The body of a section: its own part, and the end of the other one's."""
    _, _, body, end, *shared = sections[number]
    if not shared:
        return text[body:end]
    other, own_end, size = shared
    whole = _body(text, sections, other) if other < number else b""
    return text[body:own_end] + whole[max(len(whole) - size, 0) :]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _detail(row: sqlite3.Row) -> dict[str, Any]:
    try:
        detail: Any = orjson.loads(row["detail"] or "{}")
    except orjson.JSONDecodeError:
        return {}
    return detail if isinstance(detail, dict) else {}


def _milliseconds(created: str) -> int:
    try:
        return parse_timestamp(created)
    except ValueError:
        return 0
