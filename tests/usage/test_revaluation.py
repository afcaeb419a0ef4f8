"""Present prices on what was recorded before."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cpa.usage.compaction import compact_sums
from cpa.usage.event import DAY_MS, QUARTER_MS, Event
from cpa.usage.insert import insert
from cpa.usage.overview import overview, summary
from cpa.usage.price import Price
from cpa.usage.price_rows import PriceRow
from cpa.usage.prices import Factor, PriceTable
from cpa.usage.revaluation import CHUNK, Revaluation, begin, go_on
from cpa.usage.schema import open_database, transaction
from cpa.usage.tokens import Tokens
from tests.usage.conftest import NOON, event

PRICES = PriceTable({"gpt-5": PriceRow(Price(10**9, 2 * 10**9)), "free": PriceRow(Price(0, 0))})
COST = 20_000 + 20_000
"""Of the usual event at these prices."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = open_database(tmp_path / "usage.sqlite")
    yield connection
    connection.close()


def revalue(database: sqlite3.Connection, prices: PriceTable = PRICES, since: int = 0, **options: Any) -> Revaluation:
    done = begin(database, since)
    while True:
        with transaction(database):
            if not go_on(database, done, prices, since, **options):
                return done


def costs(database: sqlite3.Connection) -> list[int | None]:
    return [row[0] for row in database.execute("SELECT cost_nanos FROM usage_attempts ORDER BY id")]


def sums(database: sqlite3.Connection) -> dict[str, list[tuple[int, ...]]]:
    """What every table of sums says of cost, and what the attempts themselves say."""
    columns = "sum(cost_nanos), sum(priced_count), sum(priced_tokens)"
    found = {
        table: [
            tuple(row) for row in database.execute(f"SELECT {key}, {columns} FROM {table} GROUP BY 1, 2 ORDER BY 1, 2")
        ]
        for table, key in (("usage_day_sums", "day, failed"), ("usage_quarters", "bucket_start, failed"))
    }
    found["usage_sums"] = [tuple(database.execute(f"SELECT {columns} FROM usage_sums").fetchone())]
    return found


def attempts_sum(database: sqlite3.Connection) -> tuple[int, ...]:
    query = """SELECT sum(coalesce(cost_nanos, 0)), count(cost_nanos),
        sum(CASE WHEN cost_nanos IS NULL THEN 0 ELSE total_tokens END) FROM usage_attempts"""
    return tuple(database.execute(query).fetchone())


def test_attempts_and_every_sum_get_the_new_cost(database: sqlite3.Connection) -> None:
    events = [
        event(request_id="a", cost_nanos=5),
        event(request_id="b"),
        event(request_id="c", failed=True, at_ms=NOON + DAY_MS),
        event(request_id="d", model="unknown", requested_model="unknown", cost_nanos=7),
        event(request_id="e", model="mystery", requested_model="mystery"),
        event(request_id="f", model="free", cost_nanos=9),
        event(request_id="g", tokens=Tokens()),
    ]
    insert(database, events, NOON)
    done = revalue(database)
    assert costs(database) == [COST, COST, COST, 7, None, 0, None]
    assert (done.attempts, done.changed, done.unpriced) == (6, 4, 1)
    assert (done.before_nanos, done.after_nanos) == (5 + 7 + 9, 3 * COST + 7)
    expected = attempts_sum(database)
    assert expected == (3 * COST + 7, 5, 150)
    found = sums(database)
    assert found["usage_sums"] == [expected]
    for table in ("usage_day_sums", "usage_quarters"):
        assert tuple(map(sum, zip(*(row[2:] for row in found[table]), strict=True))) == expected
    usage = overview(database)["usage"]
    assert (usage["cost_nanos"], usage["unpriced_tokens"]) == (3 * COST + 7, 30)
    assert {row["name"]: row["cost_nanos"] for row in summary(database, "model")}["gpt-5"] == 3 * COST


def test_the_same_as_if_the_prices_had_been_there_from_the_start(database: sqlite3.Connection, tmp_path: Path) -> None:
    def events() -> list[Event]:
        return [
            event(
                request_id=f"r{number}",
                at_ms=NOON + number * QUARTER_MS // 3,
                failed=number % 7 == 0,
                model=("gpt-5", "free", "unknown")[number % 3],
                requested_model="",
                service_tier=("", "priority")[number % 2],
                tokens=Tokens(input=number, output=1, total=number + 1, uncached=number),
            )
            for number in range(1200)
        ]

    prices = PriceTable(
        {"gpt-5": PriceRow(Price(10**9, 2)), "free": PriceRow(Price(0, 0))}, factors=[Factor(3, {"service_tier": "p*"})]
    )
    insert(database, events(), NOON)
    done = revalue(database, prices)
    assert done.attempts == 1200 > 2 * CHUNK
    other = open_database(tmp_path / "other.sqlite")
    priced = events()
    for each in priced:
        each.cost_nanos = prices.cost_of(each)
    insert(other, priced, NOON)
    assert costs(database) == costs(other)
    assert sums(database) == sums(other)
    other.close()
    assert revalue(database, prices).changed == 0


def test_a_preview_writes_nothing(database: sqlite3.Connection) -> None:
    insert(database, [event()], NOON)
    done = revalue(database, write=False)
    assert (done.changed, done.after_nanos) == (1, COST)
    assert costs(database) == [None]


def test_only_what_is_new_enough_is_touched(database: sqlite3.Connection) -> None:
    moments = (NOON + DAY_MS, NOON - DAY_MS, NOON, NOON + 1)
    insert(database, [event(request_id=str(at), at_ms=at) for at in moments], NOON)
    assert revalue(database, since=NOON).attempts == 3
    assert costs(database) == [COST, None, COST, COST]
    assert revalue(database, since=NOON + 9 * DAY_MS).attempts == 0


def test_sums_by_hour_are_found(database: sqlite3.Connection) -> None:
    insert(database, [event(at_ms=NOON + QUARTER_MS), event(request_id="b", at_ms=NOON)], NOON)
    while compact_sums(database, NOON + 100 * DAY_MS):
        pass
    revalue(database)
    assert sums(database)["usage_sums"] == [attempts_sum(database)] == [(2 * COST, 2, 60)]


def test_a_price_beyond_all_sense_stays_out_of_the_sums(database: sqlite3.Connection) -> None:
    insert(database, [event(tokens=Tokens(input=10**12, total=10**12, uncached=10**12))], NOON)
    prices = PriceTable({"gpt-5": PriceRow(Price(10**15, 0))})
    assert revalue(database, prices).changed == 0
    assert costs(database) == [None]


@pytest.mark.parametrize(
    ("fields", "nanos"),
    [
        ({"input": 100, "output": 10, "total": 110}, 100 * 1000 + 10 * 2000),
        ({"input": 100, "cached": 40, "output": 10, "total": 110}, 60 * 1000 + 40 * 100 + 10 * 2000),
        ({"input": 100, "output": 10, "reasoning": 5, "total": 110}, 100 * 1000 + 10 * 2000),
        ({"input": 100, "output": 10, "reasoning": 5, "total": 115}, 100 * 1000 + 15 * 2000),
        ({"total": 115}, None),
    ],
)
@pytest.mark.parametrize("provider", ["codex", "claude"])
def test_what_cliproxyapi_recorded_gets_a_cost_too(
    database: sqlite3.Connection, provider: str, fields: dict[str, int], nanos: int | None
) -> None:
    if provider == "claude" and "cached" in fields:
        fields = {**fields, "input": 60}
    insert(database, [event(provider=provider, tokens=Tokens(**fields))], NOON)
    prices = PriceTable({"gpt-5": PriceRow(Price(10**9, 2 * 10**9, 10**8))})
    revalue(database, prices)
    assert costs(database) == [nanos]
