"""The sums of attempts that are being written, by quarter of an hour, by day, and over everything."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from operator import add as plus

from cpa.usage.event import DAY_MS, QUARTER_MS, Row, bucket
from cpa.usage.statements import of_one_width, whole, write_rows
from cpa.usage.tables import ADD_SUMS, RECORDED, SHORTEST, SUMS

_COLUMN = {name: index for index, name in enumerate(RECORDED)}
_FAILED, _FINAL, _COST = (_COLUMN[name] for name in ("failed", "final", "cost_nanos"))
_LATENCY, _FIRST, _TOTAL = (_COLUMN[name] for name in ("latency_ms", "ttft_ms", "total_tokens"))
_ADDED = tuple(
    _COLUMN[name]
    for name in (
        "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_read_tokens",
        "cache_creation_tokens", "total_tokens",
    )
)  # fmt: skip


def _adding(table: str, name: Sequence[str]) -> tuple[str, str]:
    """The two ends of a statement that adds sums to those that are there."""
    return (
        f"INSERT INTO {table} ({', '.join((*name, *SUMS))}) VALUES ",  # noqa: S608
        f" ON CONFLICT ({', '.join(name)}) {ADD_SUMS}",
    )


_SUM = _adding("usage_sums", ("bucket", "place_id", "failed"))
_DAY = _adding("usage_day_sums", ("day", "place_id", "failed"))
_QUARTER = _adding("usage_quarters", ("bucket_start", "failed"))


class Totals:
    """Those of one transaction."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, int, int], Row] = {}
        """By quarter of an hour since 1970, place and failure."""

    def add(self, place: int, rows: list[Row]) -> None:
        """Add attempts that are summed under one place, in the form of :func:`cpa.usage.statements.write_attempts`."""
        times = [row[0] for row in rows]
        first, last = min(times) // QUARTER_MS, max(times) // QUARTER_MS
        if first == last and max(map(len, rows)) <= _FAILED:
            self._add((first, place, 0), rows)
            return
        apart: dict[tuple[int, int, int], list[Row]] = {}
        for row in map(whole, rows):
            apart.setdefault((row[0] // QUARTER_MS, place, row[_FAILED]), []).append(row)
        for group, same in apart.items():
            self._add(group, same)

    def write(self, connection: sqlite3.Connection, hours_until: int) -> None:
        """Add everything to what is in the database. Before the quarter ``hours_until`` hours are summed, not quarters.

        Raises sqlite3.Error.
        """
        fine: dict[Row, Row] = {}
        days: dict[Row, Row] = {}
        quarters: dict[Row, Row] = {}
        for (quarter, place, failed), sums in self._groups.items():
            begin = quarter if quarter >= hours_until else quarter // 4 * 4
            _put(fine, (begin, place, failed), sums)
            _put(days, (quarter * QUARTER_MS // DAY_MS, place, failed), sums)
            _put(quarters, (bucket(quarter * QUARTER_MS), failed), sums)
        for (start, end), each in ((_SUM, fine), (_DAY, days), (_QUARTER, quarters)):
            write_rows(connection, start, [name + sums for name, sums in each.items()], end)

    def _add(self, group: tuple[int, int, int], rows: list[Row]) -> None:
        _put(self._groups, group, _summed(of_one_width(rows)))


def _put(totals: dict[tuple[int, int, int], Row] | dict[Row, Row], name: Row, sums: Row) -> None:
    there = totals.get(name)
    totals[name] = sums if there is None else tuple(map(plus, there, sums))


def _summed(rows: Sequence[Row]) -> Row:
    """:data:`cpa.usage.tables.SUMS` of rows of attempts that have one width."""
    columns = list(zip(*rows, strict=True))
    count, latency, first, total = len(rows), columns[_LATENCY], columns[_FIRST], columns[_TOTAL]
    cost = columns[_COST] if len(columns) > SHORTEST else (None,) * count
    untimed, unpriced = first.count(None), cost.count(None)
    return (
        count,
        sum(latency),
        count - latency.count(0),
        *[sum(columns[index]) if index < len(columns) else 0 for index in _ADDED],
        sum(columns[_FINAL]) if len(columns) > _FINAL else count,
        sum(filter(None, first)) if untimed else sum(first),
        count - untimed,
        sum(filter(None, cost)) if unpriced else sum(cost),
        count - unpriced,
        sum(tokens for tokens, price in zip(total, cost, strict=True) if price is not None) if unpriced else sum(total),
    )
