"""Lists and exports find what a filter means, whatever way the search takes, and read little where little can be."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from cpa.usage import places, search
from cpa.usage.compaction import compact_sums
from cpa.usage.event import DAY_MS, QUARTER_MS, Event
from cpa.usage.export import export_jsonl
from cpa.usage.filters import EventFilter, Filter, RequestFilter
from cpa.usage.history_batches import insert_batches
from cpa.usage.insert import insert
from cpa.usage.queries import events_page
from cpa.usage.requests import list_requests
from cpa.usage.retention import prune_events
from cpa.usage.schema import open_database, transaction
from tests.usage.conftest import NOON, event
from tests.usage.made_histories import made_batch

FILTERS: dict[str, dict[str, Any]] = {
    "everything": {},
    "a model": {"models": ("m1",)},
    "two models": {"models": ("m0", "m2")},
    "a rare model": {"models": ("rare",)},
    "a model that was asked for": {"models": ("asked-2",)},
    "an unknown model": {"models": ("gpt-2",)},
    "an account": {"account": "b@example.org"},
    "an account of another's model": {"account": "b@example.org", "models": ("rare",)},
    "an index": {"auth_index": "index-1"},
    "a provider": {"provider": "claude"},
    "a client": {"client": "key-2"},
    "failed": {"failed": True},
    "what succeeded": {"failed": False},
    "a status": {"status": 429},
    "a frequent status": {"status": 200},
    "a rare status": {"status": 507},
    "an unknown status": {"status": 418},
    "a status of failure without one": {"status": 429, "failed": False},
    "a usual status in spite of a failure": {"status": 200, "failed": True},
    "a frequent status of a model and client": {"status": 200, "models": ("m1",), "client": "key-1"},
    "an unusual status of success": {"status": 206},
    "no status": {"status": 0},
    "a status of a model": {"status": 429, "models": ("m1",)},
    "what took long": {"latency_ms": 9_000},
    "what took long of a model, with a status": {"latency_ms": 5_000, "models": ("m1",), "status": 429},
    "what took longer than anything": {"latency_ms": 10_000_000},
    "a request": {"request_id": "r0321"},
    "a request that took too little": {"request_id": "r0321", "latency_ms": 10_000},
    "a request of another's model": {"request_id": "r0321", "models": ("rare",)},
    "a stretch": {"start_ms": NOON + 40 * QUARTER_MS + 7, "end_ms": NOON + 90 * QUARTER_MS + 7},
    "a frequent status within a stretch": {"status": 200, "start_ms": NOON + 9 * 3600_000 + 7, "end_ms": NOON + DAY_MS},
    "a status within a stretch": {"status": 429, "start_ms": NOON + DAY_MS + 7, "end_ms": NOON + 2 * DAY_MS},
    "later than everything": {"start_ms": NOON + 300 * DAY_MS},
}


def made_up() -> list[Event]:
    chance, made = random.Random(5), []
    for number in range(900):
        model = "rare" if number in (17, 503) else chance.choice(["m0", "m1", "m2"])
        status = 507 if number in (90, 700) else chance.choice([200] * 18 + [429, 429, 206])
        made.append(
            event(
                request_id=f"r{number:04}",
                at_ms=NOON + number * 5 * 60_000 + chance.randrange(3) * 1000,
                model=model,
                requested_model=chance.choice(["", "m1", "asked-1", "asked-2"]),
                source=chance.choice(["a@example.org", "b@example.org"]) if model != "rare" else "a@example.org",
                auth_index=f"index-{number % 2}",
                provider=chance.choice(["codex", "claude"]),
                group=f"key-{number % 3}",
                status=status,
                failed=(status >= 400) != (number % 20 == 4),
                final=number % 7 != 0,
                latency_ms=number * 7919 % 10_000,
            )
        )
    chance.shuffle(made)
    return made


MADE = made_up()


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """Some places are summed under others, the first days by the hour, and the oldest attempts are gone."""
    monkeypatch.setattr(places, "MOST_PLACES", 60)
    opened = open_database(tmp_path / "u.sqlite")
    insert(opened, MADE[:600], NOON)
    with transaction(opened):
        compact_sums(opened, NOON + 92 * DAY_MS)
    insert(opened, MADE[600:], NOON)
    with transaction(opened):
        prune_events(opened, 1, OLDEST + DAY_MS)
    yield opened
    opened.close()


OLDEST = NOON + 3 * 3600_000 + 7


def right(wanted: Filter, *, requests: bool) -> list[str]:
    """The requests of what fits, as the words say it."""

    def fits(one: Event) -> bool:
        models = {one.model, one.requested_model} if requests else {one.model}
        return (
            one.at_ms >= max(wanted.start_ms or 0, OLDEST)
            and (wanted.end_ms is None or one.at_ms <= wanted.end_ms)
            and (not wanted.models or bool(models & set(wanted.models)))
            and wanted.account in ("", one.source, one.auth_index, one.provider)
            and wanted.auth_index in ("", one.auth_index)
            and wanted.provider in ("", one.provider)
            and wanted.client in ("", one.group)
            and wanted.request_id in ("", one.request_id)
            and wanted.failed in (None, one.failed)
            and wanted.status in (None, one.status)
            and one.latency_ms >= wanted.latency_ms
            and (one.final or not requests)
        )

    return [one.request_id for one in sorted(filter(fits, MADE), key=lambda one: -one.at_ms)]


WAYS: dict[str, dict[str, int]] = {
    "by quarters of an hour": {},
    "as attempts lie": {"MOST_QUARTERS": 3},
    "very many": {"MOST_SORTED": 0, "MANY": 0},
    "very many as they lie": {"MOST_SORTED": 0, "MANY": 0, "MOST_QUARTERS": 1},
    "few of very many": {"MOST_SORTED": 150},
}


@pytest.fixture(params=WAYS, ids=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in WAYS[request.param].items():
        monkeypatch.setattr(search, name, value)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
def test_pages_of_events_are_what_the_filter_says(connection: sqlite3.Connection, fields: dict[str, Any]) -> None:
    expected = right(EventFilter(**fields), requests=False)
    listed: list[str] = []
    for number in range(1, len(expected) // 40 + 2):
        page = events_page(connection, EventFilter(**fields, page=number, page_size=40))
        assert page["total_count"] == len(expected)
        listed += [one["request_id"] for one in page["events"]]
    assert listed == expected
    assert events_page(connection, EventFilter(**fields, page=99, page_size=40))["events"] == []


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
def test_cursors_go_through_all_of_it(connection: sqlite3.Connection, fields: dict[str, Any]) -> None:
    expected = right(EventFilter(**fields), requests=False)
    listed: list[str] = []
    before: tuple[int, int | str] | None = None
    while True:
        page = events_page(connection, EventFilter(**fields, page_size=40, before=before))
        assert page["total_count"] == len(expected)
        listed += [one["request_id"] for one in page["events"]]
        if not page["next_cursor"]:
            break
        begun, number = page["next_cursor"].split(".")
        before = (int(begun), int(number))
    assert listed == expected


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
def test_requests_are_what_the_filter_says(connection: sqlite3.Connection, fields: dict[str, Any]) -> None:
    listed: list[str] = []
    before: tuple[int, int | str] | None = None
    while rows := list_requests(connection, RequestFilter(**fields, limit=40, before=before)):
        listed += [row["request_id"] for row in rows]
        before = (rows[-1]["started_ms"], rows[-1]["request_id"])
    assert listed == right(RequestFilter(**fields), requests=True)


@pytest.mark.usefixtures("way")
def test_requests_are_found_by_the_beginning_of_their_ids(connection: sqlite3.Connection) -> None:
    found = list_requests(connection, RequestFilter(request_id="r03", limit=1000))
    assert [row["request_id"] for row in found] == [
        name for name in right(RequestFilter(), requests=True) if name.startswith("r03")
    ]


def test_few_of_very_many_are_counted_and_sorted_in_one_go(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_SORTED", 100)
    monkeypatch.setattr(search, "MOST_QUARTERS", 100)
    asked: list[str] = []
    connection.set_trace_callback(asked.append)
    page = events_page(connection, EventFilter(latency_ms=9_900))
    connection.set_trace_callback(None)
    assert page["total_count"] == len(right(EventFilter(latency_ms=9_900), requests=False)) > 0
    assert sum("usage_attempts NOT INDEXED" in query for query in asked) == 1


@pytest.mark.parametrize("fields", FILTERS.values(), ids=FILTERS)
def test_exports_are_what_the_filter_says(connection: sqlite3.Connection, fields: dict[str, Any]) -> None:
    lines = b"".join(export_jsonl(connection, EventFilter(**fields))).splitlines()
    expected = right(EventFilter(**fields), requests=False)[::-1]
    assert [orjson.loads(line)["request_id"] for line in lines] == expected


def test_a_request_took_as_long_as_all_its_attempts(tmp_path: Path) -> None:
    opened = open_database(tmp_path / "u.sqlite")
    tried = {"request_id": "tried", "latency_ms": 9_000, "failed": True, "status": 500, "final": False}
    made = [
        event(request_id="tried", at_ms=NOON - 60_000, latency_ms=7_000),
        event(**tried, at_ms=NOON, attempt=1),
        event(**tried, at_ms=NOON + 10_000, attempt=2),
        event(request_id="tried", at_ms=NOON + 20_000, attempt=3, latency_ms=500),
        event(request_id="half", at_ms=NOON + 30_000, attempt=2, latency_ms=300),
    ]
    insert(opened, made, NOON)
    rows = [(row["request_id"], row["duration_ms"]) for row in list_requests(opened, RequestFilter())]
    assert rows == [("half", 300), ("tried", 20_500), ("tried", 7_000)]
    opened.close()


def test_histories_of_requests_that_left_no_attempts_stand_between_the_others(connection: sqlite3.Connection) -> None:
    alone = {f"h{number:02}": NOON + number * 7 * 3600_000 + number for number in range(12)}
    both = {one.request_id: one.at_ms for one in MADE if one.final and one.at_ms >= OLDEST and one.model == "m1"}
    for name, begun in (alone | both).items():
        with transaction(connection):
            insert_batches(connection, [made_batch({name: begun}, models={name: "m1"})], 0, begun + 900)
    expected = sorted(
        [*alone.items(), *((one.request_id, one.at_ms) for one in MADE if one.final and one.at_ms >= OLDEST)],
        key=lambda each: -each[1],
    )
    listed: list[str] = []
    before: tuple[int, int | str] | None = None
    while found := list_requests(connection, RequestFilter(limit=7, before=before)):
        listed += [row["request_id"] for row in found]
        before = (found[-1]["started_ms"], found[-1]["request_id"])
    assert listed == [name for name, _ in expected]
    told = list_requests(connection, RequestFilter(models=("m1",), start_ms=NOON + 20 * 3600_000, limit=1000))
    assert {row["request_id"] for row in told if not row["total_tokens"]} == {
        f"h{number:02}" for number in range(3, 12)
    }


def steps(connection: sqlite3.Connection, ask: Callable[[], Any]) -> int:
    """Hundreds of instructions that SQLite runs for something."""
    done = 0

    def count() -> int:
        nonlocal done
        done += 1
        return 0

    connection.set_progress_handler(count, 100)
    ask()
    connection.set_progress_handler(None, 0)
    return done


RARE = [{"models": ("rare",)}, {"models": ("gpt-2",)}, {"account": "nobody"}, {"status": 507}, {"status": 418}]


@pytest.mark.parametrize("fields", [*RARE, {"status": 507, "models": ("m",)}])
def test_the_rare_and_the_absent_are_found_without_reading_the_rest(tmp_path: Path, fields: dict[str, Any]) -> None:
    connection = open_database(tmp_path / "u.sqlite")
    made = [
        event(
            request_id=f"r{number}",
            at_ms=NOON + number * 1000,
            model="rare" if number == 5000 else "m",
            status=507 if number == 7000 else 429 if number % 25 == 3 else 200,
        )
        for number in range(20_000)
    ]
    insert(connection, made, NOON)
    wanted = RequestFilter(**fields)
    everything = steps(connection, lambda: connection.execute("SELECT max(latency_ms) FROM usage_attempts").fetchall())
    assert steps(connection, lambda: list_requests(connection, wanted)) < everything / 4
    assert steps(connection, lambda: events_page(connection, EventFilter(**fields))) < everything / 4
    assert steps(connection, lambda: list(export_jsonl(connection, EventFilter(**fields)))) < everything / 4
    connection.close()


@pytest.mark.parametrize("fields", [{"status": 200}, {"status": 200, "models": ("m",)}, {"status": 429}])
@pytest.mark.parametrize("page", [1, 20])
def test_pages_of_a_status_are_counted_without_reading_the_rest(
    tmp_path: Path, fields: dict[str, Any], page: int
) -> None:
    connection = open_database(tmp_path / "u.sqlite")
    made = [
        event(request_id=f"r{number}", at_ms=NOON + number * 5000, status=429 if number % 25 == 3 else 200)
        for number in range(40_000)
    ]
    insert(connection, made, NOON)
    wanted = EventFilter(**fields, page=page, page_size=50)
    everything = steps(connection, lambda: connection.execute("SELECT max(latency_ms) FROM usage_attempts").fetchall())
    assert steps(connection, lambda: events_page(connection, wanted)) < everything / 2
    connection.close()
