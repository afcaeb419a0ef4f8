"""Forget old events, little by little. Sums per quarter of an hour stay for ever."""

from __future__ import annotations

import sqlite3

from cpa.usage.event import timestamp

CHUNK = 2000
DAY_MS = 86_400_000
KEY_DAYS = 30
"""Days for which an event that is gone is still recognised when it is imported again."""


def prune_events(connection: sqlite3.Connection, days: int, now_ms: int) -> int:
    """Delete events older than ``days``; how many. Raises sqlite3.Error."""
    oldest, deleted = now_ms - days * DAY_MS, 0
    while True:
        gone = connection.execute(
            "DELETE FROM usage_events WHERE id IN (SELECT id FROM usage_events WHERE ts_ms < ? LIMIT ?)",
            (oldest, CHUNK),
        ).rowcount
        deleted += gone
        if gone < CHUNK:
            break
    if deleted:
        connection.execute(
            "DELETE FROM usage_event_keys WHERE created_at < ?", (timestamp(oldest - KEY_DAYS * DAY_MS),)
        )
        connection.execute("PRAGMA incremental_vacuum(2000)")
    return deleted
