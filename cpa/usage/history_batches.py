"""Request histories in the usage database: written many at a time, and kept within bounds.

A batch is one row; its histories have the numbers from its ``id`` on. Of each ``request_history_ids`` has a narrow row,
also of those that earlier versions and CLIProxyAPI stored, one by one, in ``request_histories``.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable
from functools import cache

from msgspec import Struct

from cpa.usage.event import DAY_MS, timestamp
from cpa.usage.history_heads import decode_heads, encode_heads, sizes_of
from cpa.usage.retention import INCREMENTAL, PAGES, give_back

CHUNK = 25
"""Batches, and histories stored one by one, that are deleted in one go."""
GZIP = 31
"""The container, in zlib's way to name it."""
_NEXT = """
SELECT max(
    coalesce((SELECT id + count FROM request_history_batches ORDER BY id DESC LIMIT 1), 1),
    coalesce((SELECT seq + 1 FROM sqlite_sequence WHERE name = 'request_histories'), 1))"""
_ADD_ID = "INSERT OR IGNORE INTO request_history_ids (request_id, history_id, begun_ms) VALUES (?, ?, ?)"
TOGETHER = (64, 8, 1)
"""So many are added by one statement: each gives other threads a turn, which takes longer than the work."""
_ADD_BATCH = """
INSERT INTO request_history_batches (id, count, forced, created_ms, request_ids, heads, bodies)
VALUES (?, ?, ?, ?, ?, ?, ?)"""
_FORCED = """
SELECT id FROM request_histories WHERE force = 1 UNION ALL SELECT id FROM request_history_batches WHERE forced = 1
ORDER BY id DESC LIMIT -1 OFFSET ?"""
_SIZES = """
SELECT id, length(log_text_gzip) AS size FROM request_histories
UNION ALL SELECT id, length(heads) + length(bodies) FROM request_history_batches ORDER BY id DESC"""


class Batch(Struct):
    """Histories that are stored together."""

    requests: list[tuple[str, int]]
    """Of each the id, and when it began (Unix milliseconds)."""
    forced: bool
    """Kept because the request failed, while ``request-log`` was off. Such a history is a batch of its own."""
    heads: bytes
    """See :mod:`cpa.usage.history_heads`; packed."""
    bodies: bytes
    """Packed, as a whole or piece by piece."""


class Bounds(Struct):
    """How much is kept; 0 is no limit."""

    days: int
    megabytes: int


def pack(content: bytes | bytearray) -> bytes:
    """The content, gzipped."""
    return _packer()(content)


@cache
def _packer() -> Callable[[bytes | bytearray], bytes]:
    """Intel's library where there is one for the processor: it takes a tenth of what zlib takes for the same size."""
    try:
        from isal import isal_zlib
    except ImportError:
        return lambda content: zlib.compress(content, 1, GZIP)
    return lambda content: bytes(isal_zlib.compress(content, 0, GZIP))


def unpack(content: bytes) -> bytes:
    """What was packed, as a whole or piece by piece. Raises zlib.error."""
    pieces: list[bytes] = []
    while content:
        packed = zlib.decompressobj(GZIP)
        pieces.append(packed.decompress(content))
        if not packed.eof:
            raise zlib.error("it is cut off")
        content = packed.unused_data
    return b"".join(pieces)


def insert_batches(connection: sqlite3.Connection, batches: list[Batch], errors: int, now_ms: int) -> None:
    """Write histories, and forget the oldest forced ones beyond ``errors`` (0 keeps all).

    A request id that was used before (clients may choose it) never replaces an older history: the newer one is kept
    under the id with a number behind it.
    """
    number: int = connection.execute(_NEXT).fetchone()[0]
    for batch in batches:
        count = len(batch.requests)
        names = _add_ids(connection, batch.requests, number)
        values = (number, count, int(batch.forced), now_ms, "\n".join(names), batch.heads, batch.bodies)
        connection.execute(_ADD_BATCH, values)
        number += count
    if errors and any(batch.forced for batch in batches):
        _delete(connection, [row["id"] for row in connection.execute(_FORCED, (errors,))])


def _add_ids(connection: sqlite3.Connection, requests: list[tuple[str, int]], first: int) -> list[str]:
    """Under which ids they are kept: nearly always their own."""
    rows = [(name, number, begun_ms) for number, (name, begun_ms) in enumerate(requests, first)]
    at = added = 0
    while at < len(rows):
        count = next(size for size in TOGETHER if size <= len(rows) - at)
        values = [value for row in rows[at : at + count] for value in row]
        added += connection.execute(_ADD_ID + ", (?, ?, ?)" * (count - 1), values).rowcount
        at += count
    if added == len(rows):
        return [name for name, _, _ in rows]
    return [
        name if _history_id(connection, name) == number else _add_suffixed(connection, name, number, begun_ms)
        for name, number, begun_ms in rows
    ]


def _add_suffixed(connection: sqlite3.Connection, name: str, history_id: int, begun_ms: int) -> str:
    number, suffixed = 2, f"{name}.2"
    while _history_id(connection, suffixed) is not None:
        number = number * 2 if number >= 8 else number + 1
        suffixed = f"{name}.{number}"
    connection.execute(_ADD_ID, (suffixed, history_id, begun_ms))
    return suffixed


def _history_id(connection: sqlite3.Connection, request_id: str) -> int | None:
    query = "SELECT history_id FROM request_history_ids WHERE request_id = ?"
    found = connection.execute(query, (request_id,)).fetchone()
    return None if found is None else int(found[0])


def prune_histories(connection: sqlite3.Connection, bounds: Bounds, now_ms: int) -> bool:
    """Delete some histories that are too old or too many; whether there is more to do. Raises sqlite3.Error."""
    chosen: list[int] = []
    if bounds.days:
        oldest = now_ms - bounds.days * DAY_MS
        for query, moment in (
            ("SELECT id FROM request_histories WHERE created_at < ? ORDER BY id LIMIT ?", timestamp(oldest)),
            ("SELECT id FROM request_history_batches WHERE created_ms < ? ORDER BY id LIMIT ?", oldest),
        ):
            chosen += [row["id"] for row in connection.execute(query, (moment, CHUNK))]
    if not chosen and bounds.megabytes:
        chosen = _beyond(connection, bounds.megabytes * 1024 * 1024)[-CHUNK:]
    _delete(connection, chosen)
    if chosen or _can_shrink(connection):
        give_back(connection)
        return True
    return False


def _can_shrink(connection: sqlite3.Connection) -> bool:
    """Whether the file has many free pages that can be given back."""
    free, mode = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("freelist_count", "auto_vacuum"))
    return bool(mode == INCREMENTAL and free > PAGES)


def _beyond(connection: sqlite3.Connection, limit: int) -> list[int]:
    """What must go for the rest to fit, the oldest last."""
    total, chosen = 0, []
    for row in connection.execute(_SIZES):
        total += row["size"]
        if total > limit:
            chosen.append(int(row["id"]))
    return chosen


def delete_histories(connection: sqlite3.Connection, request_id: str | None) -> int:
    """Delete one history, or all; how many."""
    if request_id is None:
        deleted: int = connection.execute("SELECT count(*) FROM request_history_ids").fetchone()[0]
        _forget_deleted(connection)
        for table in ("request_histories", "request_history_batches", "request_history_ids"):
            connection.execute(f"DELETE FROM {table} WHERE 1")  # noqa: S608
    else:
        deleted = int(_delete_one(connection, request_id))
    give_back(connection, None)
    return deleted


def _delete_one(connection: sqlite3.Connection, request_id: str) -> bool:
    history_id = _history_id(connection, request_id)
    if history_id is None:
        return False
    batch = connection.execute(
        "SELECT * FROM request_history_batches WHERE id <= ? AND id + count > ? ORDER BY id DESC LIMIT 1",
        (history_id, history_id),
    ).fetchone()
    if batch is None or batch["count"] == 1:
        _delete(connection, [history_id])
        return True
    _forget_deleted(connection)
    _delete_ids(connection, [request_id])
    names = batch["request_ids"].split("\n")
    names[history_id - batch["id"]] = ""
    if not any(names):
        _delete(connection, [batch["id"]])
        return True
    heads, bodies = _without(batch, history_id - batch["id"])
    connection.execute(
        "UPDATE request_history_batches SET request_ids = ?, heads = ?, bodies = ? WHERE id = ?",
        ("\n".join(names), heads, bodies, batch["id"]),
    )
    return True


def _without(batch: sqlite3.Row, number: int) -> tuple[bytes, bytes]:
    """The heads and bodies of a batch without one history; with none of them when it is damaged."""
    try:
        heads, bodies = decode_heads(unpack(batch["heads"])), unpack(batch["bodies"])
    except (zlib.error, ValueError):
        return b"", b""
    sizes = sizes_of(heads)
    begin = sum(sizes[:number])
    heads[number] = None
    return pack(encode_heads(heads)), pack(bodies[:begin] + bodies[begin + sizes[number] :])


def _delete(connection: sqlite3.Connection, chosen: list[int]) -> None:
    """Delete whole batches, and histories stored one by one, by their ids."""
    if not chosen:
        return
    _forget_deleted(connection)
    for table, names in (("request_histories", "request_id"), ("request_history_batches", "request_ids")):
        for number in chosen:
            found = connection.execute(f"SELECT {names} FROM {table} WHERE id = ?", (number,)).fetchone()  # noqa: S608
            if found is not None:
                _delete_ids(connection, found[0].split("\n"))
        connection.executemany(f"DELETE FROM {table} WHERE id = ?", [(number,) for number in chosen])  # noqa: S608


def _delete_ids(connection: sqlite3.Connection, names: list[str]) -> None:
    connection.executemany("DELETE FROM request_history_ids WHERE request_id = ?", [(name,) for name in names])


def _forget_deleted(connection: sqlite3.Connection) -> None:
    """Nothing of what is deleted from now on can be read in the file."""
    connection.execute("PRAGMA secure_delete=ON").fetchall()
