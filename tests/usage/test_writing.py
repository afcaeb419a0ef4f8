"""Batches are written exactly once, though a commit may fail after it took place; texts stay few."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpa.usage import places as placing
from cpa.usage.attempted import Ending
from cpa.usage.event import Event
from cpa.usage.filters import EventFilter, RequestFilter
from cpa.usage.insert import add, insert
from cpa.usage.overview import overview
from cpa.usage.places import Places
from cpa.usage.price import Price
from cpa.usage.price_rows import PriceRow
from cpa.usage.prices import PriceTable
from cpa.usage.queries import events_page, facets
from cpa.usage.requests import list_requests
from cpa.usage.schema import open_database, transaction
from cpa.usage.tokens import Tokens
from cpa.usage.unwritten import leave, take_in
from cpa.usage.writing import EventWriter
from tests.usage.conftest import NOON, attempted, event, kind


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "u.sqlite")
    yield opened
    opened.close()


class Unsure:
    """A connection that says of a commit that it failed, before or after it took place."""

    def __init__(self, connection: sqlite3.Connection, *, committed: bool) -> None:
        self._connection = connection
        self._committed = committed

    def execute(self, statement: str, *values: Any) -> Any:
        if statement != "COMMIT":
            return self._connection.execute(statement, *values)
        if self._committed:
            self._connection.execute("COMMIT")
        raise sqlite3.OperationalError("disk I/O error")

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction


class Deaf:
    """A connection that answers nothing."""

    in_transaction = False

    def execute(self, statement: str, *values: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")


def rows(connection: sqlite3.Connection, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in connection.execute(query)]


def some(number: int) -> list[Event]:
    return [event(request_id=f"r{each}") for each in range(number)]


@pytest.mark.parametrize("committed", [True, False])
def test_what_a_failed_commit_may_have_written_is_there_once(connection: sqlite3.Connection, committed: bool) -> None:
    writer, events = EventWriter(), [*some(3), event(key="from elsewhere")]
    insert(connection, [event(key="from elsewhere")], NOON)
    unsure: Any = Unsure(connection, committed=committed)
    with pytest.raises(sqlite3.OperationalError):
        writer.write(unsure, events, NOON)
    writer.connected()
    deaf: Any = Deaf()
    with pytest.raises(sqlite3.OperationalError):
        writer.write(deaf, events, NOON)
    later = [*events, *[event(request_id=f"s{each}") for each in range(2)]]
    written = writer.write(connection, later, NOON)
    assert written == (4 if committed else 6)
    if later[written:]:
        assert writer.write(connection, later[written:], NOON) == 2
    assert rows(connection, "SELECT request_id FROM usage_events ORDER BY id") == [
        ("r1",), ("r0",), ("r1",), ("r2",), ("s0",), ("s1",)
    ]  # fmt: skip
    for table in ("usage_rollups", "usage_days", "usage_quarters"):
        assert rows(connection, f"SELECT sum(request_count) FROM {table}") == [(6,)]


@pytest.mark.parametrize("committed", [True, False])
def test_events_left_in_a_file_are_taken_in_once(
    connection: sqlite3.Connection, tmp_path: Path, committed: bool
) -> None:
    writer, events, log = EventWriter(), some(3), Quiet()
    unsure: Any = Unsure(connection, committed=committed)
    with pytest.raises(sqlite3.OperationalError):
        writer.write(unsure, events, NOON)
    waiting = writer.named([*events, event(request_id="s")])
    for _ in range(2):
        leave(tmp_path / "u.sqlite", waiting, log)
        take_in(tmp_path / "u.sqlite", connection, log)
    assert rows(connection, "SELECT request_id FROM usage_events") == [("r0",), ("r1",), ("r2",), ("s",)]


@pytest.mark.parametrize("upstream", ["openai", "openai-response", "claude", "gemini"])
@pytest.mark.parametrize(
    "told",
    [
        None,
        (20, 0, 0, 0, 10, 0, 30),
        (20, None, None, None, 10, None, None),
        (20, 5, 6, 2, 10, 4, 0),
        (5, 20, 0, 0, 10, 40, 15),
        (0, 0, 0, 0, 0, 0, 9),
        (20, None, None, None, 10, None, 31),
        (None,) * 7,
    ],
)
def test_an_attempt_is_written_as_the_event_it_is(
    connection: sqlite3.Connection, upstream: str, told: tuple[int, ...] | None
) -> None:
    table = PriceTable({"gpt-5": PriceRow(Price(1_000_000, 7_000_000, 300_000, 5_000_000), "")})
    texts = {"upstream_format": upstream, "stream": True, "user_agent": "agent", "client_ip": "::1"}
    for first, failed in ((0.25, False), (None, True)):
        made = attempted(
            kind=kind(**texts), told=told, first_token=first,
            ended=Ending(2, 500, "odd", "words", failed=True, final=False) if failed else None,
        )  # fmt: skip
        with transaction(connection):
            add(connection, [made, made.event()], NOON, priced=table.costing)
        columns = "SELECT * FROM usage_attempts ORDER BY id DESC LIMIT 2"
        (_, *one), (_, *other) = rows(connection, columns)
        assert one == other
        (shown, again) = rows(connection, "SELECT * FROM usage_events ORDER BY id DESC LIMIT 2")
        assert shown[2:] == again[2:]


def test_attempts_that_are_written_together_are_those_that_are_written_one_by_one(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    """Whatever stands beside them: most rows leave out what is usual, and some cannot."""
    table = PriceTable({"gpt-5": PriceRow(Price(1_000_000, 7_000_000, cache_write_1h=9), "")})
    endings = [None] * 9 + [Ending(2), Ending(1, 500, "odd", "words", failed=True), Ending(1, 429, final=False)]
    tokens = [None, (20, 0, 0, 0, 10, 0, 30), (20, 5, 6, 2, 10, 4, 0), (900, 0, 0, 0, 1, 0, 901)]
    chance = random.Random(7)
    made = [
        attempted(
            request_id=f"r{number}", kind=kind(model=chance.choice(["gpt-5", "other"])), told=chance.choice(tokens),
            started_at=NOON / 1000 + chance.choice([0, 0, 0, 899, 900, 86_400]), ended=chance.choice(endings),
            first_token=chance.choice([None, 0.5]), duration=chance.choice([0.0, 0.25]),
        )
        for number in range(700)
    ]  # fmt: skip
    usual = [each for each in made if each.ended is None and each.told == tokens[1]]
    other = open_database(tmp_path / "other.sqlite")
    for batch in (made, usual):
        with transaction(connection):
            add(connection, batch, NOON, priced=table.costing)
        for each in batch:
            with transaction(other):
                add(other, [each.event()], NOON, priced=table.costing)
    for name in ("usage_attempts", "usage_sums", "usage_day_sums", "usage_quarters"):
        assert rows(connection, f"SELECT * FROM {name}") == rows(other, f"SELECT * FROM {name}")
    other.close()


class Quiet:
    def error(self, text: str, **_: Any) -> None:
        """Nothing."""

    info = error


def test_another_database_in_the_place_of_the_one_that_failed_gets_everything(
    connection: sqlite3.Connection, tmp_path: Path
) -> None:
    writer, events = EventWriter(), some(3)
    unsure: Any = Unsure(connection, committed=True)
    with pytest.raises(sqlite3.OperationalError):
        writer.write(unsure, events, NOON)
    other = open_database(tmp_path / "other.sqlite")
    writer.connected()
    assert writer.write(other, events, NOON) == 3
    assert rows(other, "SELECT count(*) FROM usage_events") == [(3,)]
    other.close()


def test_two_writers_of_one_file_get_in_each_others_way_nowhere(connection: sqlite3.Connection, tmp_path: Path) -> None:
    other, writers = open_database(tmp_path / "u.sqlite"), (EventWriter(), EventWriter())
    for number in range(6):
        made = [event(request_id=f"r{number}", model=f"m{number // 2}", user_agent=f"a{number // 3}")]
        writers[number % 2].write((connection, other)[number % 2], made, NOON)
    assert rows(connection, "SELECT model, user_agent FROM usage_events ORDER BY id") == [
        ("m0", "a0"), ("m0", "a0"), ("m1", "a0"), ("m1", "a1"), ("m2", "a1"), ("m2", "a1")
    ]  # fmt: skip
    assert rows(connection, "SELECT count(*) FROM usage_places") == [(3,)]
    other.close()


def test_places_of_a_transaction_that_failed_are_not_remembered(connection: sqlite3.Connection) -> None:
    writer = EventWriter()
    writer.write(connection, [event(model="before")], NOON)
    unsure: Any = Unsure(connection, committed=False)
    with pytest.raises(sqlite3.OperationalError):
        writer.write(unsure, [event(model="new", user_agent="new")], NOON)
    writer.write(connection, [event(model="other", user_agent="other")], NOON)
    writer.write(connection, [event(model="new", user_agent="new")], NOON)
    assert rows(connection, "SELECT model, user_agent FROM usage_events ORDER BY id")[1:] == [
        ("other", "other"), ("new", "new")
    ]  # fmt: skip


def test_very_many_names_from_outside_make_no_more_sums(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "MOST_PLACES", 5)
    monkeypatch.setattr(placing, "MOST_REMEMBERED", 3)
    writer = EventWriter()
    for number in range(20):
        made = event(request_id=f"r{number}", requested_model=f"odd{number}", reasoning_effort=str(number))
        assert writer.write(connection, [made], NOON) == 1
    asked = "SELECT DISTINCT requested_model, reasoning_effort FROM"
    assert len(rows(connection, f"{asked} usage_events")) == 20
    assert len(rows(connection, f"{asked} usage_rollups")) == 6
    assert ("", "") in rows(connection, f"{asked} usage_days")
    assert overview(connection)["usage"]["total_requests"] == 20
    assert len(overview(connection)["usage"]["apis"]["key-1"]["models"]["gpt-5"]["details"]) == 1
    assert events_page(connection, EventFilter(models=("gpt-5",)))["total_count"] == 20
    assert facets(connection, None, None)["models"] == ["gpt-5"]


def test_made_up_models_take_no_more_room_than_there_is(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "MOST_PLACES", 6)
    monkeypatch.setattr(placing, "MOST_NAMES", 10)
    writer = EventWriter()
    for number in range(30):
        name = f"odd{number}"
        made = event(
            request_id=f"r{number}", provider="", source="", auth_index="", model=name, requested_model=name,
            attempt=0, failed=True, status=404, fail_body=f"unknown model '{name}'", tokens=Tokens(),
        )  # fmt: skip
        assert writer.write(connection, [made], NOON) == 1
    real = [event(request_id=f"s{number}", requested_model=f"gpt-5({number})") for number in range(2)]
    writer.write(connection, real, NOON)
    assert len(rows(connection, "SELECT id FROM usage_places")) == 12
    assert len(rows(connection, "SELECT DISTINCT model FROM usage_rollups")) == 5
    assert rows(connection, "SELECT requested_model FROM usage_rollups WHERE model = 'gpt-5'") == [
        ("gpt-5(0)",), ("gpt-5(1)",)
    ]  # fmt: skip
    told = rows(connection, "SELECT model, requested_model, fail_body FROM usage_events WHERE attempt = 0 ORDER BY id")
    assert told[2] == ("odd2", "odd2", "unknown model 'odd2'")
    assert told[8] == ("", "odd8", "unknown model 'odd8'")
    assert told[29] == ("", "", "unknown model 'odd29'")
    assert overview(connection)["usage"]["total_requests"] == 32
    assert overview(connection)["usage"]["apis"]["key-1"]["models"][""]["total_requests"] == 27
    assert events_page(connection, EventFilter())["total_count"] == 32
    assert events_page(connection, EventFilter(status=404))["total_count"] == 30
    for name in ("odd2", "odd8"):
        assert [row["request_id"] for row in list_requests(connection, RequestFilter(models=(name,)))] == [
            f"r{name[3:]}"
        ]


def test_made_up_user_agents_take_no_more_room_than_there_is(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "MOST_ORIGINS", 5)
    writer = EventWriter()
    for number in range(20):
        made = event(request_id=f"r{number}", user_agent=f"odd/{number}", client_ip="127.0.0.1")
        writer.write(connection, [made], NOON)
        writer.changed()
    assert len(rows(connection, "SELECT id FROM usage_origins")) == 6
    told = rows(connection, "SELECT user_agent, client_ip FROM usage_events ORDER BY id")
    assert told[4:6] == [("odd/4", "127.0.0.1"), ("", "")]
    assert events_page(connection, EventFilter())["total_count"] == 20


def test_what_is_known_of_places_is_looked_up_again_once_a_day(connection: sqlite3.Connection) -> None:
    known, day = Places(), 86_400_000
    for now_ms in (NOON, NOON + 1, NOON + day):
        with transaction(connection):
            known.begin(connection, now_ms)
            kind = event(user_agent="agent").kind
            known.numbers.get(kind) or known.find(connection, kind)
    assert rows(connection, "SELECT last_ms FROM usage_origins") == [(NOON + day,)]
