"""The texts of attempts, each combination once: found by what they are, remembered by the connection that writes."""

from __future__ import annotations

import sqlite3
from typing import Any

from cpa.usage.event import DAY_MS, Kind
from cpa.usage.tables import CHOSEN, ORIGIN, PLACE, Origin, Place

MOST_REMEMBERED = 4096
"""Kinds: twice as many as :func:`kind_of` remembers, others are never met again."""
MOST_PLACES = 10_000
"""With so many places in the database, what others choose freely makes no further one for sums; with half as many the
model of a request that no account was asked for does not either: it may be made up. Such a request tells the model as
the requested one then."""
MOST_NAMES = 100_000
"""With so many places in all it does not tell it any more; its error still does."""
MOST_ORIGINS = 100_000
"""With so many origins an attempt with another one does not tell its client's name and address."""
_NOT_CHOSEN = dict.fromkeys(CHOSEN, "")
_NOT_ASKED = _NOT_CHOSEN | {"model": ""}

Numbers = tuple[int, int, int]
"""Of a place, of the one under which it is summed, and of an origin."""


class Places:
    """Numbers of places and origins, and what else must not be asked for every time.

    For one connection, and used in transactions of it only.
    """

    def __init__(self) -> None:
        self.numbers: dict[Kind, Numbers] = {}
        """What is remembered."""
        self._places: dict[Place, tuple[int, int]] = {}
        self._origins: dict[Origin, int] = {}
        self.database = ""
        """What the database calls itself."""
        self.last_number = 0
        """The ``id`` of the attempt that was added last."""
        self.hours_until = 0
        """The first quarter of an hour since 1970 that is summed by itself; before it whole hours are."""
        self._version = -1
        self._now_ms = 0
        self._room: int | None = None
        """How many more places may have sums of their own."""
        self._origins_left: int | None = None
        self._names_left = 0
        """How many more places may be made of requests that nobody was asked for."""

    def begin(self, connection: sqlite3.Connection, now_ms: int) -> None:
        """A transaction has begun. What others may have changed meanwhile is forgotten, everything once a day."""
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._version or now_ms // DAY_MS != self._now_ms // DAY_MS:
            self.forget()
            self._version = version
            self.database = state(connection, "database", "")
            self.hours_until = state(connection, "hours_until", 0)
        self._now_ms = now_ms

    def forget(self) -> None:
        """Look everything up again: a transaction was not completed, or places were deleted."""
        self._clear()
        self._version = -1
        self._room = self._origins_left = None

    def find(self, connection: sqlite3.Connection, kind: Kind) -> Numbers:
        """The numbers of a kind that is not remembered."""
        if len(self.numbers) >= MOST_REMEMBERED:
            self._clear()
        place = self._places.get(kind.place)
        if place is None:
            place = self._places[kind.place] = self._place(connection, kind.place)
        origin = self._origins.get(kind.origin)
        if origin is None:
            origin = self._origins[kind.origin] = self._origin(connection, kind.origin)
        numbers = self.numbers[kind] = (*place, origin)
        return numbers

    def _clear(self) -> None:
        self.numbers.clear()
        self._places.clear()
        self._origins.clear()

    def _origin(self, connection: sqlite3.Connection, key: Origin) -> int:
        row = connection.execute(_FIND_ORIGIN, key).fetchone()
        if row is not None:
            connection.execute("UPDATE usage_origins SET last_ms = ? WHERE id = ?", (self._now_ms, row[0]))
            return int(row[0])
        if self._origins_left is None:
            self._origins_left = MOST_ORIGINS - connection.execute("SELECT count(*) FROM usage_origins").fetchone()[0]
        untold = Origin(key.stream, "", "")
        if self._origins_left <= 0 and key != untold:
            return self._origin(connection, untold)
        self._origins_left -= 1
        return int(connection.execute(_ADD_ORIGIN, (self._now_ms, *key)).lastrowid or 0)

    def _place(self, connection: sqlite3.Connection, key: Place) -> tuple[int, int]:
        row = connection.execute(_FIND_PLACE, key).fetchone()
        if row is not None:
            connection.execute("UPDATE usage_places SET last_ms = ? WHERE id = ?", (self._now_ms, row[0]))
            return int(row[0]), int(row[1])
        if self._room is None:
            query = "SELECT count(*) - count(sums_id), count(*) FROM usage_places"
            with_sums, there = connection.execute(query).fetchone()
            self._room, self._names_left = MOST_PLACES - with_sums, MOST_NAMES - there
        asked = bool(key.provider or key.source)
        plain = key._replace(**(_NOT_CHOSEN if asked else _NOT_ASKED))
        if key == plain or self._room > (0 if asked else MOST_PLACES // 2):
            self._room -= 1
            number = self._add(connection, key, None)
            return number, number
        summed = self._place(connection, plain)[0]
        if not asked:
            told = key._replace(model="") if self._names_left > 0 else plain
            if told != key:
                return self._place(connection, told)
        return self._add(connection, key, summed), summed

    def _add(self, connection: sqlite3.Connection, key: Place, summed: int | None) -> int:
        self._names_left -= 1
        return int(connection.execute(_ADD_PLACE, (summed, self._now_ms, *key)).lastrowid or 0)


def _find(table: str, what: str, names: tuple[str, ...]) -> str:
    return f"SELECT {what} FROM {table} WHERE {' AND '.join(f'{name} = ?' for name in names)}"  # noqa: S608


def _add(table: str, names: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608


_FIND_PLACE = _find("usage_places", "id, coalesce(sums_id, id)", PLACE)
_FIND_ORIGIN = _find("usage_origins", "id", ORIGIN)
_ADD_PLACE = _add("usage_places", ("sums_id", "last_ms", *PLACE))
_ADD_ORIGIN = _add("usage_origins", ("last_ms", *ORIGIN))


def state(connection: sqlite3.Connection, name: str, default: Any) -> Any:
    """Something that the database knows of itself."""
    row = connection.execute("SELECT value FROM usage_state WHERE name = ?", (name,)).fetchone()
    return default if row is None else row[0]


def set_state(connection: sqlite3.Connection, name: str, value: Any) -> None:
    """Let the database know something of itself."""
    connection.execute("INSERT OR REPLACE INTO usage_state VALUES (?, ?)", (name, value))
