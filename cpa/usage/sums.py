"""Sums over a range of time, from the coarsest tables that have them."""

from __future__ import annotations

from collections.abc import Iterable

from cpa.usage.event import DAY_MS, QUARTER_MS, bucket

QUARTERS = DAY_MS // QUARTER_MS
"""Quarters of an hour of a day."""


def summed(columns: Iterable[str], start_ms: int | None, end_ms: int | None) -> tuple[str, list[int]]:
    """A subquery of rows with ``day`` and ``columns``, and its values: together they are the sums of a range of time.

    Columns are ``place_id``, ``failed`` and sums; ``day`` is counted from 1970. Both ends count, to the quarter of an
    hour (to the hour where whole hours are summed). Whole days come from the sums of days.
    """
    names = ", ".join(columns)
    first = None if start_ms is None else start_ms // QUARTER_MS
    end = None if end_ms is None else end_ms // QUARTER_MS + 1
    first_day = None if first is None else -(-first // QUARTERS)
    end_day = None if end is None else end // QUARTERS
    days = f"SELECT day, {names} FROM usage_day_sums"  # noqa: S608
    rest = f"SELECT bucket / {QUARTERS} AS day, {names} FROM usage_sums WHERE bucket >= ? AND bucket < ?"  # noqa: S608
    if first is not None and end is not None and first_day is not None and end_day is not None and first_day >= end_day:
        return f"({rest})", [first, end]
    parts, values, limits = [], [], []
    if first_day is not None:
        limits.append("day >= ?")
        values.append(first_day)
    if end_day is not None:
        limits.append("day < ?")
        values.append(end_day)
    parts.append(f"{days} WHERE {' AND '.join(limits)}" if limits else days)
    if first is not None and first_day is not None and first < first_day * QUARTERS:
        parts.append(rest)
        values += [first, first_day * QUARTERS]
    if end is not None and end_day is not None and end_day * QUARTERS < end:
        parts.append(rest)
        values += [end_day * QUARTERS, end]
    return f"({' UNION ALL '.join(parts)})", values


def quarter_range(start_ms: int | None, end_ms: int | None) -> tuple[str, list[str]]:
    """A condition on ``bucket_start`` of ``usage_quarters`` for a range of time, both ends counting, and its values."""
    parts, values = ["1"], []
    if start_ms is not None:
        parts.append("bucket_start >= ?")
        values.append(bucket(start_ms))
    if end_ms is not None:
        parts.append("bucket_start <= ?")
        values.append(bucket(end_ms))
    return " AND ".join(parts), values


def bucket_range(start_ms: int | None, end_ms: int | None) -> tuple[str, list[int]]:
    """The same for ``bucket`` of ``usage_sums``."""
    parts, values = ["1"], []
    if start_ms is not None:
        parts.append("bucket >= ?")
        values.append(start_ms // QUARTER_MS)
    if end_ms is not None:
        parts.append("bucket <= ?")
        values.append(end_ms // QUARTER_MS)
    return " AND ".join(parts), values
