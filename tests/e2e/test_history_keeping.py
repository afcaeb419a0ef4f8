"""Row 20: histories are kept no longer and no larger than is asked for, and what they took is given back."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from pathlib import Path

import orjson
import pytest
from histories import CHAT, Keep, Kept

from cpa.usage.history_batches import insert_batches
from cpa.usage.retention import PAGES
from cpa.usage.schema import open_database, transaction
from tests.usage.made_histories import made_batch

ROOM = PAGES * 4096 + 400_000
"""Bytes of a file beside its histories: free ones that stay for the next, and the other tables."""
DAY_MS = 86_400_000
MEGABYTE = 1024 * 1024


def seed(folder: Path, ages: list[float], size: int, *, forced: bool = False, errors: int = 0) -> Path:
    """Write histories so many days old, ``size`` bytes packed each (``d0``, ``d1`` ...); the database."""
    path = folder / "usage.sqlite"
    connection = open_database(path)
    now = int(time.time() * 1000)
    for number, age in enumerate(ages):
        begun = now - int(age * DAY_MS)
        body = b"prompt-of-d%d " % number + os.urandom(size)
        name = f"d{number}"
        batch = made_batch({name: begun}, bodies={name: body}, forced=forced, status=500 if forced else 200, level=0)
        with transaction(connection):
            insert_batches(connection, [batch], errors, begun)
    connection.close()
    return path


def left(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        return [row[0] for row in connection.execute("SELECT request_id FROM request_history_ids ORDER BY history_id")]
    finally:
        connection.close()


async def settled(path: Path, expected: list[str], largest: int) -> None:
    """Wait until just these histories are left in a file of at most ``largest`` bytes."""
    for _ in range(100):
        if left(path) == expected and _checkpointed(path) <= largest:
            return
        await asyncio.sleep(0.05)
    raise AssertionError((left(path), path.stat().st_size))


def _checkpointed(path: Path) -> int:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return path.stat().st_size


async def test_histories_that_are_too_old_go_and_the_file_shrinks(keep: Keep, tmp_path: Path) -> None:
    path = seed(tmp_path, [9.0] * 130 + [7.5, 6.5, 0.1], 64 * 1024)
    assert path.stat().st_size > 8 * MEGABYTE
    kept = await keep(request_log=True, request_history_retention_days=7)
    await settled(path, ["d131", "d132"], ROOM)
    content = path.read_bytes()
    assert b"prompt-of-d131" in content
    assert b"prompt-of-d0 " not in content
    assert (await kept.manage("/request-log-by-id/d130"))[0] == 404
    assert (await kept.manage("/request-log-by-id/d132"))[0] == 200


async def test_the_oldest_histories_go_when_all_are_too_large(keep: Keep, tmp_path: Path) -> None:
    path = seed(tmp_path, [9.0] * 120, 100 * 1024)
    await keep(request_log=True, request_history_retention_days=0, request_history_max_size_mb=2)
    await settled(path, [f"d{number}" for number in range(100, 120)], 2 * MEGABYTE + ROOM)


async def test_without_bounds_every_history_stays(keep: Keep, tmp_path: Path) -> None:
    path = seed(tmp_path, [4000.0, 9.0], 3 * MEGABYTE)
    kept = await keep(request_log=True, request_history_retention_days=0, request_history_max_size_mb=0)
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="new")
    await kept.text("new")
    assert left(path) == ["d0", "d1", "new"]


@pytest.mark.parametrize(("bound", "expected"), [(3, 3), (0, 8)])
async def test_failed_requests_are_kept_up_to_their_number(
    keep: Keep, tmp_path: Path, bound: int, expected: int
) -> None:
    """``error-logs-max-files``; 0 is no bound. Requests that were all kept on purpose do not count."""
    path = seed(tmp_path, [0.3, 0.2], 1000)
    kept = await keep(error_logs_max_files=bound)
    for number in range(8):
        await kept.ask("/v1/chat/completions", b"{", X_Request_Id=f"bad-{number}")
        await kept.json("/request-error-logs")
    assert left(path) == ["d0", "d1", *(f"bad-{number}" for number in range(8 - expected, 8))]


@pytest.mark.parametrize("one", ["", "/d7"])
async def test_deleting_leaves_nothing_behind_in_any_file(keep: Keep, tmp_path: Path, one: str) -> None:
    path = seed(tmp_path, [0.1] * 40, 100 * 1024)
    kept = await keep(request_log=True)
    before = _bytes_of(path)
    removed = orjson.loads((await kept.manage(f"/request-histories{one}", "DELETE"))[1])["removed"]
    after = _bytes_of(path)
    assert removed == (1 if one else 40)
    assert b"prompt-of-d7 " in before
    assert b"prompt-of-d7 " not in after
    assert (b"prompt-of" in after) is bool(one)
    assert one or len(after) < MEGABYTE


def _bytes_of(path: Path) -> bytes:
    """The database with its write-ahead log."""
    return b"".join(each.read_bytes() for each in path.parent.glob("usage.sqlite*") if each.suffix != ".sqlite-shm")


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
async def test_an_export_of_usage_has_nothing_of_histories_and_no_secret(keep: Keep, form: str) -> None:
    kept = await keep(request_log=True, usage_statistics_enabled=True)
    told = "tell-nobody-of-this"
    for word in (told, f"boom {told}"):
        await kept.ask(f"/v1/chat/completions?key={told}", {**CHAT, "messages": [{"role": "user", "content": word}]})
    exported = await _exported(kept, form)
    assert exported.count(b"POST /v1/chat/completions") >= 1
    for secret in (told, "client-key-for-tests", 'up-oc"', "management-key-for-histories"):
        assert secret.encode() not in exported


async def _exported(kept: Kept, form: str) -> bytes:
    await kept.json("/request-histories")
    status, body, _ = await kept.manage(f"/usage/export?format={form}")
    assert status == 200
    return body
