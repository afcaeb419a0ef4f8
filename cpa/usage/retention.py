"""Forget old events, a few at a time. Sums stay for ever."""

from __future__ import annotations

import sqlite3

from cpa.usage.event import DAY_MS, timestamp
from cpa.usage.places import set_state, state

CHUNK = 1000
INCREMENTAL = 2
"""``PRAGMA auto_vacuum`` of a database that can give pages back."""
PAGES = 500
"""Free pages given back to the disk after a chunk."""
KEY_DAYS = 30
"""Days for which an event from elsewhere that is gone is still recognised when it is imported again."""
UNUSED_DAYS = 2
"""What no event of these days and later was written with is used by none that is left: when texts were last used is
noted to the day."""
_KEEP_KEYS = """
INSERT OR REPLACE INTO usage_event_keys (event_key, created_at)
SELECT event_key, ? FROM usage_attempts WHERE ts_ms <= ? AND event_key IS NOT NULL
"""


def prune_events(connection: sqlite3.Connection, days: int, now_ms: int) -> bool:
    """Delete some events older than ``days``; whether there are more. Raises sqlite3.Error.

    Runs in the transaction that is open. The oldest go first, so that what is left has no gap.
    """
    oldest = now_ms - days * DAY_MS
    edge = connection.execute(
        "SELECT max(ts_ms) FROM (SELECT ts_ms FROM usage_attempts WHERE ts_ms < ? ORDER BY ts_ms LIMIT ?)",
        (oldest, CHUNK),
    ).fetchone()[0]
    if edge is not None:
        connection.execute(_KEEP_KEYS, (timestamp(now_ms), edge))
        connection.execute("DELETE FROM usage_attempts WHERE ts_ms <= ?", (edge,))
        set_state(connection, "pruned_ms", max(edge, state(connection, "pruned_ms", -1)))
        give_back(connection)
        return True
    connection.execute("DELETE FROM usage_event_keys WHERE created_at < ?", (timestamp(oldest - KEY_DAYS * DAY_MS),))
    unused = oldest - UNUSED_DAYS * DAY_MS
    connection.execute("DELETE FROM usage_origins WHERE last_ms < ?", (unused,))
    connection.execute("DELETE FROM usage_places WHERE last_ms < ? AND sums_id IS NOT NULL", (unused,))
    return False


def give_back(connection: sqlite3.Connection, pages: int | None = PAGES) -> None:
    """Return free pages of the file to the disk, all with None (databases of CLIProxyAPI keep theirs).

    One by one: of this statement, which has rows without columns, Python's sqlite3 takes one step only.
    """
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    if connection.execute("PRAGMA auto_vacuum").fetchone()[0] != INCREMENTAL:
        return
    for _ in range(free if pages is None else min(free, pages)):
        connection.execute("PRAGMA incremental_vacuum(1)").fetchall()
