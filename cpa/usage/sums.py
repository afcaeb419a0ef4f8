"""Sums over a range of time, from the coarsest tables that have them."""

from __future__ import annotations

from collections.abc import Iterable

from cpa.usage.event import DAY_MS, QUARTER_MS, bucket


def summed(columns: Iterable[str], start_ms: int | None, end_ms: int | None) -> tuple[str, list[str]]:
    """A subquery of rows with ``day`` and ``columns``, and its values: together they are the sums of a range of time.

    Both ends count, to the quarter of an hour. Whole days come from ``usage_days``, the rest from ``usage_rollups``.
    """
    names = ", ".join(columns)
    first = None if start_ms is None else start_ms // QUARTER_MS
    end = None if end_ms is None else end_ms // QUARTER_MS + 1
    first_day = None if first is None else -(-first * QUARTER_MS // DAY_MS)
    end_day = None if end is None else end * QUARTER_MS // DAY_MS
    days = f"SELECT day, {names} FROM usage_days"  # noqa: S608
    rest = f"SELECT substr(bucket_start, 1, 10) AS day, {names} FROM usage_rollups"  # noqa: S608
    if first_day is not None and end_day is not None and first_day >= end_day:
        return f"({rest} WHERE bucket_start >= ? AND bucket_start < ?)", [_quarter(first), _quarter(end)]
    parts, values, limits = [], [], []
    if first is not None and first_day is not None:
        limits.append("day >= ?")
        values.append(_quarter(first_day * 96)[:10])
    if end is not None and end_day is not None:
        limits.append("day < ?")
        values.append(_quarter(end_day * 96)[:10])
    parts.append(f"{days} WHERE {' AND '.join(limits)}" if limits else days)
    if first is not None and first_day is not None and first < first_day * 96:
        parts.append(f"{rest} WHERE bucket_start >= ? AND bucket_start < ?")
        values += [_quarter(first), _quarter(first_day * 96)]
    if end is not None and end_day is not None and end_day * 96 < end:
        parts.append(f"{rest} WHERE bucket_start >= ? AND bucket_start < ?")
        values += [_quarter(end_day * 96), _quarter(end)]
    return f"({' UNION ALL '.join(parts)})", values


def quarter_range(start_ms: int | None, end_ms: int | None) -> tuple[str, list[str]]:
    """A condition on ``bucket_start`` for a range of time, both ends counting, and its values."""
    parts, values = ["1"], []
    if start_ms is not None:
        parts.append("bucket_start >= ?")
        values.append(bucket(start_ms))
    if end_ms is not None:
        parts.append("bucket_start <= ?")
        values.append(bucket(end_ms))
    return " AND ".join(parts), values


def _quarter(number: int | None) -> str:
    return bucket((number or 0) * QUARTER_MS)
