"""Write events: the row and its share of the sums, all or nothing."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence

from cpa.usage.attempted import Attempted
from cpa.usage.event import Costing, Event, Kind, Priced, Row
from cpa.usage.places import Places, state
from cpa.usage.schema import transaction
from cpa.usage.statements import MOST_ROWS, whole, write_attempts, write_keyed_attempts
from cpa.usage.totals import Totals

_OUR_KEY = re.compile(r"([0-9a-f]{16})-(\d{1,18})-(\d{1,15})")
_OURS = "SELECT ts_ms, request_id FROM usage_attempts WHERE id = ?"
_THERE = "SELECT 1 FROM usage_attempts WHERE event_key = ? UNION ALL SELECT 1 FROM usage_event_keys WHERE event_key = ?"


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
    events = [each for each in made if each.__class__ is Event]
    keyed = any(event.key for event in events)
    if keyed:
        made = _new(connection, made)
    if priced is not None:
        for event in events:
            event.price(priced)
    totals = Totals()
    for at in range(0, len(made), MOST_ROWS):
        some = made[at : at + MOST_ROWS]
        rows = _rows(connection, some, known, priced, totals)
        if keyed:
            rows = [(*whole(row), each.key or None) for row, each in zip(rows, some, strict=True)]
            known.last_number = write_keyed_attempts(connection, rows)
        else:
            known.last_number = write_attempts(connection, rows)
    totals.write(connection, known.hours_until)
    return made


def _rows(
    connection: sqlite3.Connection, made: Sequence[Made], known: Places, priced: Priced | None, totals: Totals
) -> list[Row]:
    """Rows of attempts, which are added to the sums."""
    rows = []
    kinds: dict[Kind, tuple[int, int, Costing | None, list[Row]]] = {}
    summed: list[tuple[int, list[Row]]] = []
    for each in made:
        kind = each.kind
        found = kinds.get(kind)
        if found is None:
            place, summed_by, origin = known.numbers.get(kind) or known.find(connection, kind)
            same: list[Row] = []
            found = kinds[kind] = (place, origin, None if priced is None else priced(kind, False), same)
            summed.append((summed_by, same))
        place, origin, costing, same = found
        row = each.row(place, origin, costing)
        rows.append(row)
        same.append(row)
    for place, same in summed:
        totals.add(place, same)
    return rows


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
