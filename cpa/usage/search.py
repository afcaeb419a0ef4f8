"""Attempts of a filter, found without an index for everything that can be asked for.

Attempts have few places, and the sums tell in which quarters of an hour a place has attempts, and whether such that
failed: nothing else is read. Of statuses there is an index, without the one that nearly all attempts have. What neither
tells is looked for in the newest of these quarters first; if it is not found there, all attempts are read in the order
in which they lie in the file, which takes a quarter of what the order of their time takes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from cpa.usage.event import DAY_MS, LATEST_MS, QUARTER_MS
from cpa.usage.filters import Filter
from cpa.usage.places import state
from cpa.usage.sums import summed
from cpa.usage.tables import UNUSUAL

MANY = 10_000
"""More attempts than this are not found by their request."""
MOST_SORTED = 500_000
"""More attempts than this are not sorted."""
MOST_QUARTERS = 500
"""What is in more quarters of an hour than this is found faster by reading everything."""
_LIE = "usage_attempts NOT INDEXED"
_TIME, _REQUEST, _STATUS = (
    f"usage_attempts INDEXED BY idx_usage_attempts_{order}" for order in ("ts", "request_id", "status")
)
"""In which order attempts are read: as they lie in the file, by time, by request, by status."""
_STRETCHES = """stretch(first, last) AS MATERIALIZED (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?))"""
_ONE_OF = "place_id IN (SELECT value FROM json_each(?))"
_SUMMED = " AND ".join(
    f"q.{name} = p.{name}"
    for name in ("api_group_key", "provider", "endpoint", "auth_type", "model", "source", "auth_index")
)
"""What a place has in common with one under which it may be summed, whichever version did that."""


class Stretch(NamedTuple):
    """A range of time, both ends counting."""

    first_ms: int
    last_ms: int


class Search:
    """Looks for the attempts of a filter, in one view of the database: its connection has begun a transaction.

    Everything blocks, and raises sqlite3.Error.
    """

    def __init__(self, connection: sqlite3.Connection, wanted: Filter) -> None:
        self._connection = connection
        self._wanted = wanted
        self._where, self._values = wanted.of_attempt()
        """A condition on ``usage_attempts`` without time and status, and its values."""
        self.sums = wanted.of_sums()
        """A condition on sums without time: without a status, latency or request, of nothing but that."""
        self.sum_values: list[Any] = []
        self.nowhere = False
        """Whether nothing at all can be there."""
        if (places := self._find_places()) is not None:
            of_attempts, of_sums = places
            self.nowhere = not of_attempts
            self._where, self._values = f"{self._where} AND {_ONE_OF}", [*self._values, _json(of_attempts)]
            self.sums, self.sum_values = f"{self.sums} AND {_ONE_OF}", [_json(of_sums)]
        self._fits = f"{self._where} AND {wanted.of_status()}"
        """A condition on ``usage_attempts`` without time."""

    def _find_places(self) -> tuple[list[int], list[int]] | None:
        """The places that fit, and those under which they are summed; None when all do."""
        condition, values = self._wanted.of_place()
        if not condition:
            return None
        found = f"SELECT * FROM usage_places WHERE {condition}"  # noqa: S608
        places = [row["id"] for row in self._connection.execute(found, values)]
        if "requested_model" not in self._wanted.MODELS:
            return places, places
        query = f"""
            SELECT q.id FROM ({found}) p CROSS JOIN usage_places q ON {_SUMMED} AND q.requested_model = ''"""  # noqa: S608
        return places, [*{*places, *(row[0] for row in self._connection.execute(query, values))}]

    @cached_property
    def span(self) -> Stretch:
        """From where to where there is something, as far as times tell; it ends before it begins if nothing is."""
        oldest, newest = self._connection.execute(
            "SELECT (SELECT min(ts_ms) FROM usage_attempts), (SELECT max(ts_ms) FROM usage_attempts)"
        ).fetchone()
        if oldest is None or self.nowhere:
            return Stretch(1, 0)
        last = LATEST_MS if self._wanted.end_ms is None else self._wanted.end_ms
        return Stretch(max(oldest, self._wanted.start_ms or 0), min(newest, last))

    @property
    def _rest(self) -> Stretch:
        """The span as far as it comes after the cursor."""
        before = self._wanted.before
        return self.span if before is None else Stretch(self.span.first_ms, min(self.span.last_ms, before[0]))

    def newest(self, limit: int, skip: int = 0, last_ms: int = LATEST_MS, *, of_all: bool = True) -> list[int]:
        """Numbers of attempts until ``last_ms`` and after the cursor, in the order of a list; ``skip`` are left out.

        Unless it is ``of_all``, only those of about a day are looked for.
        """
        last_ms = min(last_ms, self._rest.last_ms)
        everything = Stretch(self.span.first_ms, last_ms)
        if self._of_few_requests:
            return self._read(_REQUEST, everything, limit, skip)
        if self._wanted.is_unusual:
            return self._read(_STATUS, everything, limit, skip)
        if skip > MANY:
            return self._read(_TIME, everything, limit, skip)
        found: list[int] = []
        for quarters in self._back_from(last_ms):
            too_many = len(quarters) > MOST_QUARTERS
            rest = [Stretch(self.span.first_ms, quarters[0].last_ms)] if too_many else joined(quarters)
            for stretch in rest:
                found += self._read(_LIE if too_many else _TIME, stretch, limit + skip - len(found))
                if len(found) == limit + skip:
                    return found[skip:]
            if too_many or not of_all:
                break
        return found[skip:]

    def _back_from(self, end: int) -> Iterator[list[Stretch]]:
        """All quarters of an hour that may have something, of ever longer ranges of time."""
        width = DAY_MS
        query = "SELECT max(ts_ms) FROM usage_attempts WHERE ts_ms BETWEEN ? AND ?"
        while (newest := self._connection.execute(query, (self.span.first_ms, end)).fetchone()[0]) is not None:
            begin = max(self.span.first_ms, newest - width + 1)
            yield self.quarters(Stretch(begin, newest))
            end = begin - 1
            width *= 4

    def page(self, limit: int, skip: int) -> tuple[int, list[int]]:
        """How many there are in all, and numbers as of :meth:`newest`; both are found by reading the attempts."""
        order, stretches = self._ways()
        if order == _STATUS:
            total = self.count(order, stretches)
            return total, self.newest(limit, skip) if total else []
        if order == _REQUEST or self._most() <= MOST_SORTED:
            return self._sorted(order, stretches, limit, skip)
        recent = self.newest(limit, skip, of_all=False)
        if len(recent) == limit or self._rest.last_ms - self._rest.first_ms < DAY_MS:
            return self.count(order, stretches), recent
        total, numbers = self._sorted(order, stretches, limit, skip, MOST_SORTED + 1)
        if total <= MOST_SORTED:
            return total, numbers
        return self.count(order, stretches), self.newest(limit, skip)

    def _sorted(
        self, order: str, stretches: Sequence[Stretch], limit: int, skip: int, enough: int = -1
    ) -> tuple[int, list[int]]:
        """The same, having read attempts once; no more once there are ``enough``, whichever these are."""
        after, cursor = self._after()
        query = f"""
            WITH {_STRETCHES}, found AS MATERIALIZED (
                SELECT ts_ms, id FROM stretch CROSS JOIN {order} WHERE {self._fits} AND ts_ms BETWEEN first AND last
                LIMIT ?)
            SELECT (SELECT count(*) FROM found), (SELECT json_group_array(id) FROM (
                SELECT id FROM found WHERE {after} ORDER BY ts_ms DESC, id DESC LIMIT ? OFFSET ?))"""  # noqa: S608
        values = [_json(stretches), *self._values, enough, *cursor, limit, skip]
        total, numbers = self._connection.execute(query, values).fetchone()
        return total, orjson.loads(numbers)

    def count(self, order: str = _TIME, stretches: Sequence[Stretch] = ()) -> int:
        """How many there are in some stretches of time."""
        query = f"""
            WITH {_STRETCHES} SELECT count(*) FROM stretch CROSS JOIN {order}
            WHERE {self._fits} AND ts_ms BETWEEN first AND last"""  # noqa: S608
        return int(self._connection.execute(query, [_json(stretches), *self._values]).fetchone()[0])

    def unusual(self, within: Stretch, unit_ms: int) -> dict[int, int]:
        """How many there are of every status but the usual one, whichever is wanted: by units of time since 1970."""
        query = f"""
            SELECT ts_ms / ?, count(*) FROM {_STATUS} WHERE {UNUSUAL} AND {self._where} AND ts_ms BETWEEN ? AND ?
            GROUP BY 1"""  # noqa: S608
        return dict(self._connection.execute(query, [unit_ms, *self._values, *within]))

    def _most(self) -> int:
        """How many there are at most, as far as the sums tell."""
        table, values = summed(("place_id", "failed", "final_count", "request_count"), *self.span)
        query = f"SELECT coalesce(sum(request_count), 0) FROM {table} WHERE {self.sums}"  # noqa: S608
        return int(self._connection.execute(query, [*values, *self.sum_values]).fetchone()[0])

    def quarters(self, within: Stretch) -> list[Stretch]:
        """The quarters of an hour (hours, where these are summed) that may have something, the newest first."""
        if self._wanted.is_unusual:
            query = f"""
                SELECT DISTINCT ts_ms / ? FROM {_STATUS} WHERE {self._fits} AND ts_ms BETWEEN ? AND ?
                ORDER BY 1 DESC"""  # noqa: S608
            hours_until, values = 0, [QUARTER_MS, *self._values, *within]
        else:
            query = f"""
                SELECT DISTINCT bucket FROM usage_sums WHERE bucket BETWEEN ? AND ? AND {self.sums}
                ORDER BY bucket DESC"""  # noqa: S608
            hours_until = state(self._connection, "hours_until", 0)
            first = within.first_ms // QUARTER_MS
            first = first if first >= hours_until else first // 4 * 4
            values = [first, within.last_ms // QUARTER_MS, *self.sum_values]
        return [
            Stretch(
                max(within.first_ms, bucket * QUARTER_MS),
                min(within.last_ms, (bucket + (1 if bucket >= hours_until else 4)) * QUARTER_MS - 1),
            )
            for (bucket,) in self._connection.execute(query, values)
        ]

    def _ways(self) -> tuple[str, list[Stretch]]:
        """How to read all of them: in which order, and in which stretches of time."""
        if self._of_few_requests:
            return _REQUEST, [self.span]
        if self._wanted.is_unusual:
            return _STATUS, [self.span]
        quarters = self.quarters(self.span)
        return (_LIE, [self.span]) if len(quarters) > MOST_QUARTERS else (_TIME, joined(quarters))

    def _after(self) -> tuple[str, list[Any]]:
        """A condition on attempts that come after the cursor, and its values."""
        before = self._wanted.before
        return ("1", []) if before is None else (f"(ts_ms, {self._wanted.SAME_TIME}) < (?, ?)", [*before])

    @cached_property
    def _of_few_requests(self) -> bool:
        """Whether a request is wanted, or some: clients may name very many alike."""
        condition, values = self._wanted.of_request()
        if not condition:
            return False
        query = f"SELECT count(*) FROM (SELECT 1 FROM {_REQUEST} WHERE {condition} LIMIT ?)"  # noqa: S608
        return bool(self._connection.execute(query, [*values, MANY + 1]).fetchone()[0] <= MANY)

    def _read(self, order: str, stretch: Stretch, limit: int, skip: int = 0) -> list[int]:
        after, cursor = self._after()
        query = f"""
            SELECT id FROM {order} WHERE {self._fits} AND ts_ms BETWEEN ? AND ? AND {after}
            ORDER BY ts_ms DESC, {self._wanted.SAME_TIME} DESC LIMIT ? OFFSET ?"""  # noqa: S608
        values = [*self._values, *stretch, *cursor, limit, skip]
        return [row[0] for row in self._connection.execute(query, values)]


def joined(quarters: list[Stretch]) -> list[Stretch]:
    """Stretches, the newest first, without those that follow one another without a gap."""
    found: list[Stretch] = []
    for stretch in quarters:
        if found and stretch.last_ms + 1 == found[-1].first_ms:
            found[-1] = Stretch(stretch.first_ms, found[-1].last_ms)
        else:
            found.append(stretch)
    return found


def _json(value: Sequence[int] | Sequence[Stretch]) -> str:
    return orjson.dumps(value, default=tuple).decode()
