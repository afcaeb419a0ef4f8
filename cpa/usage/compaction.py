"""Old sums by quarter of an hour become sums by hour, a day at a time."""

from __future__ import annotations

import sqlite3

from cpa.usage.event import DAY_MS
from cpa.usage.places import set_state, state
from cpa.usage.sums import QUARTERS
from cpa.usage.tables import ADD_SUMS, SUMS

QUARTER_DAYS = 90
"""Days for which every quarter of an hour has sums of its own."""
_HOURS = f"""
INSERT INTO usage_sums (bucket, place_id, failed, {", ".join(SUMS)})
SELECT bucket / 4 * 4, place_id, failed, {", ".join(f"sum({name})" for name in SUMS)}
FROM usage_sums WHERE bucket >= :first AND bucket < :end AND bucket % 4 <> 0 GROUP BY 1, 2, 3
ON CONFLICT (bucket, place_id, failed) {ADD_SUMS}
"""  # noqa: S608
_LEFT = "DELETE FROM usage_sums WHERE bucket >= :first AND bucket < :end AND bucket % 4 <> 0"


def compact_sums(connection: sqlite3.Connection, now_ms: int) -> bool:
    """Make the oldest day of quarters of an hour into hours; whether there are more such days. Raises sqlite3.Error.

    Runs in the transaction that is open. Days and totals by quarter of an hour over everything stay as they are.
    """
    until = state(connection, "hours_until", 0)
    end_day = now_ms // DAY_MS - QUARTER_DAYS
    oldest = connection.execute("SELECT min(bucket) FROM usage_sums WHERE bucket >= ?", (until,)).fetchone()[0]
    day = end_day if oldest is None else min(oldest // QUARTERS, end_day)
    if day >= end_day:
        if until != end_day * QUARTERS:
            set_state(connection, "hours_until", max(until, end_day * QUARTERS))
        return False
    span = {"first": day * QUARTERS, "end": (day + 1) * QUARTERS}
    connection.execute(_HOURS, span)
    connection.execute(_LEFT, span)
    set_state(connection, "hours_until", span["end"])
    return True
