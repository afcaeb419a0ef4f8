"""Request histories in the usage database: written, found, and kept within bounds."""

from __future__ import annotations

import sqlite3
import zlib
from typing import Any

import orjson
from msgspec import Struct

from cpa.usage.event import DAY_MS, parse_timestamp, timestamp
from cpa.usage.history_parts import decode_parts
from cpa.usage.history_text import attempt_facts, text_of
from cpa.usage.retention import INCREMENTAL, PAGES, give_back

CHUNK = 100
"""Histories deleted in one go."""
_COLUMNS = (
    "request_id", "log_name", "url", "method", "status_code", "force", "request_timestamp", "api_response_timestamp",
    "log_text_gzip", "created_at", "detail",
)  # fmt: skip
TOGETHER = 32
"""Histories written by one statement."""
_INTO = f"INTO request_histories ({', '.join(_COLUMNS)}) VALUES "
_PLACES = f"({', '.join('?' * len(_COLUMNS))})"
SUMMARY = (
    "id, request_id, log_name, url, method, status_code, force, request_timestamp, api_response_timestamp, "
    "length(log_text_gzip) AS size, created_at, detail"
)
"""Columns of a row without its text."""


class HistoryRow(Struct, kw_only=True):
    """A history as it is stored. Times are Unix milliseconds."""

    request_id: str
    log_name: str
    url: str
    method: str
    status: int
    forced: bool
    """Kept because the request failed, while ``request-log`` was off."""
    begun_ms: int
    answered_ms: int | None
    packed: bytes
    """Its parts (see :mod:`cpa.usage.history_parts`), gzipped."""
    detail: bytes
    """JSON: what is listed."""


class Bounds(Struct):
    """How much is kept; 0 is no limit."""

    days: int
    megabytes: int


def insert_histories(connection: sqlite3.Connection, rows: list[HistoryRow], errors: int, now_ms: int) -> None:
    """Write histories, and forget the oldest forced ones beyond ``errors`` (0 keeps all).

    A request id that was used before (clients may choose it) never replaces an older history: the newer one is
    kept under the id with a number behind it.
    """
    created = timestamp(now_ms)
    for at in range(0, len(rows), TOGETHER):
        _insert_together(connection, rows[at : at + TOGETHER], created)
    if errors and any(row.forced for row in rows):
        _delete(
            connection,
            "SELECT id FROM request_histories WHERE force = 1 ORDER BY id DESC LIMIT -1 OFFSET ?",
            errors,
        )


def _insert_together(connection: sqlite3.Connection, rows: list[HistoryRow], created: str) -> None:
    """With one statement when all their ids are new, as they nearly always are."""
    values = [value for row in rows for value in _values(row, "", created)]
    try:
        connection.execute(f"INSERT {_INTO}{', '.join([_PLACES] * len(rows))}", values)
    except sqlite3.IntegrityError:
        for row in rows:
            if not _insert(connection, row, "", created):
                _insert(connection, row, _free_suffix(connection, row.request_id), created)


def _insert(connection: sqlite3.Connection, row: HistoryRow, suffix: str, created: str) -> bool:
    """Whether the request's id and name, with ``suffix``, were free."""
    statement = f"INSERT OR IGNORE {_INTO}{_PLACES}"
    return connection.execute(statement, _values(row, suffix, created)).rowcount > 0


def _values(row: HistoryRow, suffix: str, created: str) -> tuple[Any, ...]:
    """In the order of the columns."""
    return (
        row.request_id + suffix,
        row.log_name.removesuffix(".log") + suffix + ".log" if suffix else row.log_name,
        row.url,
        row.method,
        row.status,
        int(row.forced),
        timestamp(row.begun_ms),
        None if row.answered_ms is None else timestamp(row.answered_ms),
        row.packed,
        created,
        row.detail.decode(),
    )


def _free_suffix(connection: sqlite3.Connection, request_id: str) -> str:
    number, suffix = 2, ".2"
    while _exists(connection, request_id + suffix):
        number = number * 2 if number >= 8 else number + 1
        suffix = f".{number}"
    return suffix


def _exists(connection: sqlite3.Connection, request_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM request_histories WHERE request_id = ?", (request_id,)).fetchone()
    return found is not None


def _delete(connection: sqlite3.Connection, chosen: str, *values: Any) -> int:
    """Delete the rows a query chooses, so that nothing of them can be read in the file; how many."""
    connection.execute("PRAGMA secure_delete=ON").fetchall()
    return connection.execute(f"DELETE FROM request_histories WHERE id IN ({chosen})", values).rowcount  # noqa: S608


def prune_histories(connection: sqlite3.Connection, bounds: Bounds, now_ms: int) -> bool:
    """Delete some histories that are too old or too many; whether there is more to do. Raises sqlite3.Error."""
    deleted = 0
    if bounds.days:
        oldest = timestamp(now_ms - bounds.days * DAY_MS)
        chosen = "SELECT id FROM request_histories WHERE created_at < ? ORDER BY id LIMIT ?"
        deleted = _delete(connection, chosen, oldest, CHUNK)
    if not deleted and bounds.megabytes:
        edge = _edge_of_size(connection, bounds.megabytes * 1024 * 1024)
        chosen = "SELECT id FROM request_histories WHERE id <= ? ORDER BY id LIMIT ?"
        deleted = _delete(connection, chosen, edge, CHUNK) if edge is not None else 0
    if deleted or _can_shrink(connection):
        give_back(connection)
        return True
    return False


def _can_shrink(connection: sqlite3.Connection) -> bool:
    """Whether the file has many free pages that can be given back."""
    free, mode = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "auto_vacuum"))
    return bool(mode == INCREMENTAL and free > PAGES)


def _edge_of_size(connection: sqlite3.Connection, limit: int) -> int | None:
    """The newest history that must go for the rest to fit."""
    total = 0
    for row in connection.execute("SELECT id, length(log_text_gzip) AS size FROM request_histories ORDER BY id DESC"):
        total += row["size"]
        if total > limit:
            return int(row["id"])
    return None


def delete_histories(connection: sqlite3.Connection, request_id: str | None) -> int:
    """Delete one history, or all; how many."""
    if request_id is None:
        deleted = _delete(connection, "SELECT id FROM request_histories WHERE id > ?", 0)
    else:
        deleted = _delete(connection, "SELECT id FROM request_histories WHERE request_id = ?", request_id)
    give_back(connection, None)
    return deleted


def find_history(connection: sqlite3.Connection, request_id: str) -> sqlite3.Row | None:
    """The whole row of a request."""
    found = connection.execute("SELECT * FROM request_histories WHERE request_id = ?", (request_id,)).fetchone()
    return found if isinstance(found, sqlite3.Row) else None


def find_error_log(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    """The row of a failed request by its file name; only those that were kept because they failed."""
    query = "SELECT * FROM request_histories WHERE log_name = ? AND force = 1"
    found = connection.execute(query, (name,)).fetchone()
    return found if isinstance(found, sqlite3.Row) else None


def error_logs(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Names, sizes and dates of failed requests, the newest first."""
    query = f"SELECT {SUMMARY} FROM request_histories WHERE force = 1 ORDER BY id DESC"  # noqa: S608
    return [
        {"name": row["log_name"], "size": row["size"], "modified": _seconds(row["created_at"])}
        for row in connection.execute(query)
    ]


def summary(row: sqlite3.Row) -> dict[str, Any]:
    """A row without its text."""
    return {
        "id": row["id"],
        "request_id": row["request_id"],
        "log_name": row["log_name"],
        "url": row["url"],
        "method": row["method"],
        "status": row["status_code"],
        "forced": bool(row["force"]),
        "timestamp": row["request_timestamp"],
        **_detail(row, "facts"),
    }


def history_text(row: sqlite3.Row) -> bytes:
    """The text of a history, or that it is damaged. Takes a while for a large one."""
    return _in_full(*_unpacked(row)[:2])


def history_json(row: sqlite3.Row) -> dict[str, Any]:
    """All of a history as JSON: what is known, each attempt, and the text of each section."""
    text, sections, attempts = _unpacked(row)
    shown = [
        {"title": title, "lines": _text(text[begin:body]).splitlines(), "text": _text(_body(text, sections, number))}
        for number, (title, begin, body, *_) in enumerate(sections)
    ]
    if not shown:
        shown = [{"title": "TEXT", "lines": [], "text": _text(text)}]
    return summary(row) | {"attempts": attempts, "sections": shown}


def _unpacked(row: sqlite3.Row) -> tuple[bytes, list[Any], list[Any]]:
    """The text, where its sections are, and what is known of the attempts.

    Earlier versions stored the text itself. In theirs a section whose body ends like that of an earlier one has three
    members more: the number of that one, the byte after its own part, and how many of the other's last bytes follow.
    """
    try:
        content = zlib.decompress(row["log_text_gzip"], wbits=47)
        if (parts := decode_parts(content)) is not None:
            return *text_of(parts), attempt_facts(parts)
    except (zlib.error, ValueError) as fault:
        return f"[DAMAGED: it cannot be unpacked: {fault}]\n".encode(), [], []
    detail = _detail(row, "")
    sections = detail.get("sections", [])
    return content, sections if isinstance(sections, list) else [], detail.get("attempts", [])


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


def _detail(row: sqlite3.Row, member: str) -> dict[str, Any]:
    try:
        detail: Any = orjson.loads(row["detail"] or "{}")
    except orjson.JSONDecodeError:
        return {}
    found = detail.get(member, {}) if member else detail
    return found if isinstance(found, dict) else {}


def _seconds(created: str) -> int:
    try:
        return parse_timestamp(created) // 1000
    except ValueError:
        return 0
