"""Write many rows with few statements: each hands Python's lock over and takes it back, which costs the thread that
writes and the event loop more than the rows do.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

from cpa.usage.event import Row
from cpa.usage.tables import LEFT_OUT, RECORDED, SHORTEST

MOST_ROWS = 256
"""Of one statement."""
_SIZES = tuple(MOST_ROWS >> step for step in range(MOST_ROWS.bit_length()))
"""All of them stay prepared."""
_ATTEMPTS = f"INSERT INTO usage_attempts ({', '.join(RECORDED)}) VALUES "  # noqa: S608
_FROM_ELSEWHERE = f"INSERT INTO usage_attempts ({', '.join(RECORDED)}, event_key) VALUES "  # noqa: S608
_CONSTANTS = ["NULL" if value is None else repr(value) for value in LEFT_OUT]


def write_rows(connection: sqlite3.Connection, start: str, rows: Sequence[Row], end: str = "") -> None:
    """Write rows of one width. ``start`` and ``end`` are what stands around the rows in the statement."""
    for some in _statements(rows):
        _execute(connection, start, some, [], end)


def write_attempts(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Write rows of :data:`cpa.usage.tables.RECORDED`, which may end before what is usual; the number of the last."""
    last = 0
    for each in _statements(rows):
        some = of_one_width(each)
        last = _execute(connection, _ATTEMPTS, some, _CONSTANTS[len(some[0]) - SHORTEST :])
    return last


def write_keyed_attempts(connection: sqlite3.Connection, rows: Sequence[Row]) -> int:
    """Write rows of :data:`cpa.usage.tables.RECORDED` and the key of an event; the number of the last."""
    write_rows(connection, _FROM_ELSEWHERE, rows)
    return int(connection.execute("SELECT last_insert_rowid()").fetchone()[0])


def of_one_width(rows: Sequence[Row]) -> Sequence[Row]:
    """Rows of attempts that all end at the same column."""
    widths = set(map(len, rows))
    if len(widths) == 1:
        return rows
    end = max(widths) - SHORTEST
    return [row + LEFT_OUT[len(row) - SHORTEST : end] for row in rows]


def whole(row: Row) -> Row:
    """A row of an attempt with all its columns."""
    return row + LEFT_OUT[len(row) - SHORTEST :]


def _statements(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows as they go into one statement each."""
    at = 0
    for size in _SIZES:
        while len(rows) - at >= size:
            yield rows[at : at + size]
            at += size


def _execute(
    connection: sqlite3.Connection, start: str, rows: Sequence[Row], constants: Sequence[str], end: str = ""
) -> int:
    statement = _statement(start, len(rows[0]), tuple(constants), len(rows), end)
    return connection.execute(statement, list(chain.from_iterable(rows))).lastrowid or 0


@lru_cache(maxsize=128)
def _statement(start: str, width: int, constants: tuple[str, ...], size: int, end: str) -> str:
    values = f"({', '.join(['?'] * width + list(constants))})"
    return f"{start}{', '.join([values] * size)}{end}"
