"""How attempts ended, by account and ten minutes: what the counters of a new process begin with."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

LONGEST_MS = 3_600_000
"""Attempts that began this long before a range may have ended in it."""
_QUERY = """
SELECT auth_index, (ts_ms + latency_ms) / ? AS ended, count(*) - sum(failed), sum(failed) FROM usage_events
WHERE ts_ms >= ? AND ts_ms < ? AND attempt > 0 AND auth_index != '' AND status_code != 499
GROUP BY 1, 2 HAVING ended >= ?
"""


class Outcome(NamedTuple):
    """How many attempts at an account ended in one stretch of time. A client that went away is neither."""

    auth_index: str
    at: float
    """The beginning of the stretch, Unix seconds."""
    succeeded: int
    failed: int


def outcomes(connection: sqlite3.Connection, start_ms: int, end_ms: int, stretch_ms: int) -> list[Outcome]:
    """What ended after ``start_ms`` and began before ``end_ms``, by stretches of time. Raises sqlite3.Error."""
    first = start_ms // stretch_ms
    values = (stretch_ms, first * stretch_ms - LONGEST_MS, end_ms, first)
    return [
        Outcome(index, number * stretch_ms / 1000, succeeded, failed)
        for index, number, succeeded, failed in connection.execute(_QUERY, values)
    ]
