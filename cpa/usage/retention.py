"""Forget old events, a few at a time. Sums stay for ever."""

from __future__ import annotations

import sqlite3

from cpa.usage.event import DAY_MS, timestamp

CHUNK = 1000
PAGES = 500
"""Free pages given back to the disk after a chunk."""
KEY_DAYS = 30
"""Days for which an event that is gone is still recognised when it is imported again."""


def prune_events(connection: sqlite3.Connection, days: int, now_ms: int) -> bool:
    """Delete some events older than ``days``; whether there are more. Raises sqlite3.Error.

    Runs in the transaction that is open. The oldest go first, so that what is left has no gap.
    """
    oldest = now_ms - days * DAY_MS
    edge = connection.execute(
        "SELECT max(ts_ms) FROM (SELECT ts_ms FROM usage_events WHERE ts_ms < ? ORDER BY ts_ms LIMIT ?)",
        (oldest, CHUNK),
    ).fetchone()[0]
    if edge is not None:
        connection.execute(
            "INSERT OR IGNORE INTO usage_event_keys SELECT event_key, created_at FROM usage_events WHERE ts_ms <= ?",
            (edge,),
        )
        connection.execute("DELETE FROM usage_events WHERE ts_ms <= ?", (edge,))
        give_back(connection)
        return True
    connection.execute("DELETE FROM usage_event_keys WHERE created_at < ?", (timestamp(oldest - KEY_DAYS * DAY_MS),))
    return False


def give_back(connection: sqlite3.Connection) -> None:
    """Return some free pages of the file to the disk (databases of CLIProxyAPI keep theirs)."""
    connection.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
