"""Write events: the row and its share of the sums, all or nothing."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from operator import add as plus

from cpa.usage.attempted import Attempted
from cpa.usage.event import DAY_MS, QUARTER_MS, Event, Priced, Row, bucket
from cpa.usage.places import Places, state
from cpa.usage.schema import transaction
from cpa.usage.tables import ADD_SUMS, RECORDED, SUMS

_ROWS = (128, 64, 32, 16, 8, 4, 2, 1)
"""How many rows one statement writes: every statement hands Python's lock over and takes it back, which
costs this thread and the event loop more than the rows do, so there are as few as possible. All of them stay
prepared."""
_OUR_KEY = re.compile(r"([0-9a-f]{16})-(\d{1,18})-(\d{1,15})")
_OURS = "SELECT ts_ms, request_id FROM usage_attempts WHERE id = ?"
_THERE = "SELECT 1 FROM usage_attempts WHERE event_key = ? UNION ALL SELECT 1 FROM usage_event_keys WHERE event_key = ?"


def _inserting(*names: str) -> str:
    return f"INSERT INTO usage_attempts ({', '.join(names)}) VALUES "  # noqa: S608


_RECORDED = _inserting(*RECORDED)
_FROM_ELSEWHERE = _inserting(*RECORDED, "event_key")


def _adding(table: str, place: Sequence[str]) -> tuple[str, str]:
    """The two ends of a statement that adds sums to those that are there."""
    return (
        f"INSERT INTO {table} ({', '.join((*place, *SUMS))}) VALUES ",  # noqa: S608
        f" ON CONFLICT ({', '.join(place)}) {ADD_SUMS}",
    )


_SUM = _adding("usage_sums", ("bucket", "place_id", "failed"))
_DAY = _adding("usage_day_sums", ("day", "place_id", "failed"))
_QUARTER = _adding("usage_quarters", ("bucket_start", "failed"))

IMPOSSIBLE = (
    ArithmeticError,
    TypeError,
    ValueError,
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""What is raised for a value that no database takes, whatever the disk."""

Made = Event | Attempted


def insert(connection: sqlite3.Connection, events: Sequence[Made], now_ms: int) -> int:
    """Write events in one transaction; how many were new. Raises sqlite3.Error, and then none is written."""
    with transaction(connection):
        return len(add(connection, events, now_ms))


def insert_possible(connection: sqlite3.Connection, events: Sequence[Event], now_ms: int) -> int:
    """Write events that have keys; without those that no database takes, if there are any. How many those were.

    Raises sqlite3.Error for every other fault; then the rest can be written by calling it again.
    """
    try:
        insert(connection, events, now_ms)
    except IMPOSSIBLE:
        if len(events) == 1:
            return 1
        return sum(insert_possible(connection, [event], now_ms) for event in events)
    return 0


def add(
    connection: sqlite3.Connection,
    made: Sequence[Made],
    now_ms: int,
    places: Places | None = None,
    priced: Priced | None = None,
) -> Sequence[Made]:
    """Write events in the transaction that is open; those that were new. Raises sqlite3.Error, and of IMPOSSIBLE.

    An event with a key is written only if it is not known, also when it was deleted since. ``places`` is what was
    remembered of the connection so far. With ``priced`` an event gets a cost that has none.
    """
    known = places if places is not None else Places()
    known.begin(connection, now_ms)
    from_elsewhere = any(each.key for each in made)
    if from_elsewhere:
        made = _new(connection, made)
    rows: list[Row] = []
    groups: dict[tuple[int, int, int], list[Row]] = {}
    remembered = known.numbers
    for each in made:
        kind = each.kind
        place, summed, origin = remembered.get(kind) or known.find(connection, kind)
        row = each.row(place, origin, priced)
        rows.append((*row, each.key or None) if from_elsewhere else row)
        group = (row[0] // QUARTER_MS, summed, row[4])
        if group in groups:
            groups[group].append(row)
        else:
            groups[group] = [row]
    known.last_number = _write(connection, _FROM_ELSEWHERE if from_elsewhere else _RECORDED, rows)
    _add_up(connection, groups, known.hours_until)
    return made


def is_written(connection: sqlite3.Connection, number: int, event: Made) -> bool:
    """Whether an event stands in the database under a number."""
    row = connection.execute(_OURS, (number,)).fetchone()
    return row is not None and (row[0], row[1]) == (event.at_ms, event.request_id)


def our_key(database: str, number: int, at_ms: int) -> str:
    """The key of an event that was recorded in a database, and not brought there."""
    return f"{database}-{number}-{at_ms}"


def _new(connection: sqlite3.Connection, made: Sequence[Made]) -> list[Made]:
    """Without what is known, or comes twice."""
    database, seen, new = state(connection, "database", ""), set[str](), []
    for each in made:
        if each.key:
            if each.key in seen or _known(connection, database, each):
                continue
            seen.add(each.key)
        new.append(each)
    return new


def _known(connection: sqlite3.Connection, database: str, event: Made) -> bool:
    """Whether an event with a key is in the database, or was.

    An event of this very database is known by its number. Where another one stands under it, a copy of the database
    went on by itself, and the event is that copy's.
    """
    ours = _OUR_KEY.fullmatch(event.key)
    if ours is not None and ours[1] == database:
        row = connection.execute(_OURS, (int(ours[2]),)).fetchone()
        if row is None and int(ours[3]) <= state(connection, "pruned_ms", -1):
            return True
        if row is not None and (row[0], row[1]) == (int(ours[3]), event.request_id):
            return True
    return connection.execute(_THERE, (event.key, event.key)).fetchone() is not None


def _write(connection: sqlite3.Connection, start: str, rows: Sequence[Row], end: str = "") -> int:
    """Write rows of one width, many with each statement; the number of the last one."""
    at, left, last = 0, len(rows), 0
    for size in _ROWS:
        while left >= size:
            statement = _statement(start, len(rows[0]), size, end)
            last = connection.execute(statement, list(chain.from_iterable(rows[at : at + size]))).lastrowid or 0
            at, left = at + size, left - size
    return last


@lru_cache(maxsize=64)
def _statement(start: str, width: int, size: int, end: str) -> str:
    marks = f"({', '.join('?' * width)})"
    return f"{start}{', '.join([marks] * size)}{end}"


_COLUMN = {name: index for index, name in enumerate(RECORDED)}
_ADDED = tuple(
    _COLUMN[name]
    for name in (
        "input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "cache_read_tokens",
        "cache_creation_tokens", "total_tokens", "final",
    )
)  # fmt: skip


def _sums(rows: list[Row]) -> Row:
    """:data:`cpa.usage.tables.SUMS` of rows of attempts."""
    columns = list(zip(*rows, strict=True))
    count, latency, first = len(rows), columns[_COLUMN["latency_ms"]], columns[_COLUMN["ttft_ms"]]
    total, cost = columns[_COLUMN["total_tokens"]], columns[_COLUMN["cost_nanos"]]
    untimed, unpriced = first.count(None), cost.count(None)
    return (
        count,
        sum(latency),
        count - latency.count(0),
        *[sum(columns[index]) for index in _ADDED],
        sum(filter(None, first)) if untimed else sum(first),
        count - untimed,
        sum(filter(None, cost)) if unpriced else sum(cost),
        count - unpriced,
        sum(tokens for tokens, price in zip(total, cost, strict=True) if price is not None) if unpriced else sum(total),
    )


def _add_up(connection: sqlite3.Connection, groups: dict[tuple[int, int, int], list[Row]], hours_until: int) -> None:
    """Add attempts, grouped by quarter of an hour, place and failure, to the sums."""
    fine: dict[Row, Row] = {}
    days: dict[Row, Row] = {}
    quarters: dict[Row, Row] = {}
    for (quarter, place, failed), rows in groups.items():
        sums = _sums(rows)
        begin = quarter if quarter >= hours_until else quarter // 4 * 4
        for totals, name in (
            (fine, (begin, place, failed)),
            (days, (quarter * QUARTER_MS // DAY_MS, place, failed)),
            (quarters, (bucket(quarter * QUARTER_MS), failed)),
        ):
            there = totals.get(name)
            totals[name] = sums if there is None else tuple(map(plus, there, sums))
    for (start, end), each in ((_SUM, fine), (_DAY, days), (_QUARTER, quarters)):
        _write(connection, start, [name + sums for name, sums in each.items()], end)
