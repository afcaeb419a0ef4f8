"""Write events that wait, each exactly once, though a commit may fail without saying whether it took place."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from msgspec import Struct

from cpa.usage.event import Event, Priced
from cpa.usage.insert import Made, add, is_written, our_key
from cpa.usage.places import Places, state
from cpa.usage.schema import transaction


class _Tried(Struct):
    """A transaction that may or may not have been completed."""

    database: str
    number: int
    """The ``id`` of the first of the events, if it was."""
    events: Sequence[Made]
    """Those that were new; at least one."""
    count: int
    """With those that were not."""


class EventWriter:
    """Writes batches for the one thread that records."""

    def __init__(self) -> None:
        self._places = Places()
        self._tried: _Tried | None = None

    def connected(self) -> None:
        """The connection is another one now."""
        self._places = Places()

    def changed(self) -> None:
        """Something was deleted, or may have been."""
        self._places.forget()

    def write(
        self, connection: sqlite3.Connection, events: Sequence[Made], now_ms: int, priced: Priced | None = None
    ) -> int:
        """Write events in one transaction; how many of them, from the first on, are in the database now.

        Raises what :func:`cpa.usage.insert.add` does. After a failure the same events must come first again.
        """
        if count := self._written_before(connection):
            return count
        try:
            with transaction(connection):
                added = add(connection, events, now_ms, self._places, priced)
                if added:
                    number = self._places.last_number - len(added) + 1
                    self._tried = _Tried(self._places.database, number, added, len(events))
        except BaseException:
            self._places.forget()
            raise
        self._tried = None
        return len(events)

    def named(self, waiting: Sequence[Made]) -> list[Event]:
        """Events with keys, so that they can be written by other means, though the fate of a transaction with some of
        them is not known.
        """
        tried = self._tried
        numbers = {id(each): tried.number + index for index, each in enumerate(tried.events)} if tried else {}
        events = []
        for each in waiting:
            event = each if isinstance(each, Event) else each.event()
            if tried is not None and not event.key and (number := numbers.get(id(each))):
                event.key = our_key(tried.database, number, event.at_ms)
            event.key = event.key or event.event_key()
            events.append(event)
        return events

    def _written_before(self, connection: sqlite3.Connection) -> int:
        """How many events were written by a transaction that seemed to fail."""
        tried = self._tried
        if tried is None:
            return 0
        here = state(connection, "database", "") == tried.database
        written = here and is_written(connection, tried.number, tried.events[0])
        self._tried = None
        return tried.count if written else 0
