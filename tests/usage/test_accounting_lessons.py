"""Streams of all formats, as vendors send them, through to the row: every token once, none invented."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from cpa.conversation.usage import Usage
from cpa.usage.event import Event
from cpa.usage.filters import EventFilter
from cpa.usage.insert import insert
from cpa.usage.overview import overview, summary
from cpa.usage.price import Price
from cpa.usage.price_rows import PriceRow
from cpa.usage.prices import PriceTable
from cpa.usage.queries import events_page
from cpa.usage.schema import open_database, open_for_reading
from cpa.usage.tokens import Tokens, tokens_of
from tests.usage.conftest import NOON, event
from tests.usage.vendor_streams import (
    CLAUDE_START,
    GEMINI_USAGE,
    OPENAI_USAGE,
    STREAMS,
    buckets,
    claude,
    gemini,
    openai,
    responses,
    tokens_in,
)


@pytest.fixture
def connection(tmp_path: Path) -> Any:
    opened = open_database(tmp_path / "u.sqlite")
    yield opened
    opened.close()


def row_of(connection: sqlite3.Connection, recorded: Event) -> sqlite3.Row:
    assert insert(connection, [recorded], NOON) == 1
    row: sqlite3.Row = connection.execute("SELECT * FROM usage_events ORDER BY id DESC LIMIT 1").fetchone()
    return row


@pytest.mark.parametrize("name", STREAMS)
def test_cached_tokens_the_client_sees_are_in_the_row(connection: sqlite3.Connection, name: str) -> None:
    row = row_of(connection, event(tokens=tokens_in(name, STREAMS[name])))
    assert (row["cache_read_tokens"], row["cached_tokens"], row["uncached_tokens"]) == (100, 100, 30)


def test_a_broken_claude_stream_keeps_what_its_start_told() -> None:
    start = {
        "input_tokens": 12,
        "cache_read_input_tokens": 180_000,
        "cache_creation_input_tokens": 5000,
        "output_tokens": 1,
    }
    assert buckets(tokens_in("claude", claude(start))) == (12, 180_000, 5000, 1)


@pytest.mark.parametrize("name", STREAMS)
def test_input_is_counted_once_whether_or_not_the_vendor_counts_cache_as_input(name: str) -> None:
    tokens = tokens_in(name, STREAMS[name])
    assert buckets(tokens) == (30, 100, 0, 50)
    assert tokens.total == 180


@pytest.mark.parametrize(
    ("split", "five_minutes", "hour"),
    [({}, 1000, 0), ({"ephemeral_1h_input_tokens": 400}, 600, 400), ({"ephemeral_5m_input_tokens": 1000}, 1000, 0)],
)
def test_cache_writes_without_a_split_cost_what_five_minutes_cost(
    split: dict[str, int], five_minutes: int, hour: int
) -> None:
    start = {"input_tokens": 0, "cache_creation_input_tokens": 1000, "output_tokens": 0}
    if split:
        start["cache_creation"] = split  # type: ignore[assignment]
    tokens = tokens_in("claude", claude(start, {"output_tokens": 0}))
    assert (tokens.cache_creation, tokens.cache_creation_1h) == (1000, hour)
    prices = PriceTable({"m": PriceRow(Price(input=1, output=1, cache_write=2_000_000, cache_write_1h=3_000_000))})
    assert prices.cost_of(event(tokens=tokens, model="m", upstream_format="claude")) == five_minutes * 2 + hour * 3


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        ("openai", openai(None, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}, OPENAI_USAGE)),
        ("openai", openai({}, OPENAI_USAGE, None)),
        ("gemini", gemini({}, {**GEMINI_USAGE, "candidatesTokenCount": 1}, GEMINI_USAGE)),
        ("claude", claude({**CLAUDE_START, "output_tokens": 0}, {"output_tokens": 50, "input_tokens": None})),
    ],
)
def test_empty_reports_neither_end_the_count_nor_undo_it(name: str, stream: bytes) -> None:
    assert buckets(tokens_in(name, stream)) == (30, 100, 0, 50)


def test_a_provider_that_says_cost_zero_is_not_believed() -> None:
    tokens = tokens_in("openai", openai({**OPENAI_USAGE, "cost": 0}))
    priced = PriceTable({"m": PriceRow(Price(input=1_000_000, output=2_000_000, cache_read=100_000))})
    assert priced.cost_of(event(tokens=tokens, model="m")) == 30 * 1 + 100 // 10 + 50 * 2
    assert priced.cost_of(event(tokens=tokens, model="unheard-of", requested_model="")) is None


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        (
            "openai",
            openai({"prompt_tokens": 30, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 100}}),
        ),
        (
            "openai-response",
            responses({"input_tokens": 30, "output_tokens": 50, "input_tokens_details": {"cached_tokens": 100}}),
        ),
        ("gemini", gemini({"promptTokenCount": 30, "cachedContentTokenCount": 100, "candidatesTokenCount": 50})),
    ],
)
def test_cached_input_that_is_more_than_the_input_was_not_counted_in_it(name: str, stream: bytes) -> None:
    assert buckets(tokens_in(name, stream)) == (30, 100, 0, 50)


@pytest.mark.parametrize(("completion", "total"), [(50, 180), (20, 180)])
def test_reasoning_told_beside_the_output_is_found_by_the_sum(completion: int, total: int) -> None:
    usage = {**OPENAI_USAGE, "completion_tokens": completion, "total_tokens": total}
    tokens = tokens_in("openai", openai(usage))
    assert (buckets(tokens), tokens.reasoning, tokens.total) == ((30, 100, 0, 50), 30, 180)


@pytest.mark.parametrize("name", STREAMS)
def test_numbers_nobody_could_have_counted_count_as_not_told(name: str) -> None:
    huge = STREAMS[name].replace(b"130", b"9" * 25).replace(b'"input_tokens":30', b'"input_tokens":' + b"9" * 25)
    assert huge != STREAMS[name]
    assert buckets(tokens_in(name, huge)) in ((0, 0, 0, 0), (0, 100, 0, 50))
    assert tokens_of(Usage(input_total=10**13, output_total=1), name) == Tokens()


@pytest.mark.parametrize("name", STREAMS)
def test_reasoning_is_a_part_of_the_output_wherever_the_vendor_counts_it(name: str) -> None:
    tokens = tokens_in(name, STREAMS[name])
    assert buckets(tokens)[3] == 50
    assert tokens.reasoning == (0 if name == "claude" else 30)


def test_details_of_an_overview_are_bounded(connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.usage.overview.MOST_DETAILS", 5)
    insert(connection, [event(request_id=f"r{n}", at_ms=NOON + n * 900_000) for n in range(20)], NOON)
    usage = overview(connection)["usage"]
    assert len(usage["apis"]["key-1"]["models"]["gpt-5"]["details"]) == 5
    assert usage["total_requests"] == 20


def test_events_around_midnight_are_in_the_quarter_of_an_hour_they_began_in(connection: sqlite3.Connection) -> None:
    midnight = NOON + 12 * 3_600_000
    insert(connection, [event(request_id=f"r{n}", at_ms=midnight + n) for n in (-1, 0, 1)], NOON)
    sums = connection.execute("SELECT bucket_start, request_count FROM usage_rollups ORDER BY 1").fetchall()
    assert [tuple(each) for each in sums] == [("2026-01-31T23:45:00Z", 1), ("2026-02-01T00:00:00Z", 2)]
    days = [each["requests"] for each in summary(connection, "day", midnight, midnight + 900_000)]
    assert sum(days) == 2


@pytest.mark.parametrize(
    ("zone", "day", "hour"),
    [("UTC", "2026-01-31", "18"), ("Asia/Kolkata", "2026-02-01", "00"), ("Pacific/Marquesas", "2026-01-31", "09")],
)
def test_days_and_hours_are_those_of_the_zone_that_is_asked_for(
    connection: sqlite3.Connection, zone: str, day: str, hour: str
) -> None:
    """Zones half an hour off, too; kept in UTC."""
    insert(connection, [event(at_ms=NOON + (6 * 60 + 45) * 60_000)], NOON)
    usage = overview(connection, zone=ZoneInfo(zone))["usage"]
    assert (usage["requests_by_day"], usage["requests_by_hour"]) == ({day: 1}, {hour: 1})


def test_every_event_is_in_one_of_two_ranges_that_meet(connection: sqlite3.Connection) -> None:
    insert(connection, [event(request_id=f"r{n}", at_ms=NOON + n * 60_000) for n in range(60)], NOON)
    for at in (NOON + 7 * 60_000 + 1, NOON + 900_000, NOON + 37 * 60_000):
        counts = [
            events_page(connection, wanted)["total_count"]
            for wanted in (EventFilter(end_ms=at - 1), EventFilter(start_ms=at))
        ]
        assert sum(counts) == 60
        assert min(counts) > 0


def test_events_that_arrive_out_of_order_are_shown_in_theirs(connection: sqlite3.Connection) -> None:
    for offset in (2, 0, 1):
        insert(connection, [event(request_id=f"r{offset}", at_ms=NOON + offset * 500)], NOON)
    page = events_page(connection, EventFilter())
    assert [each["request_id"] for each in page["events"]] == ["r2", "r1", "r0"]


def test_more_events_than_a_statement_has_variables_are_taken_in_at_once(connection: sqlite3.Connection) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 32_766)
    assert insert(connection, [event(request_id=f"r{n}") for n in range(2_000)], NOON) == 2_000
    assert overview(connection)["usage"]["total_requests"] == 2_000


def test_somebody_who_reads_does_not_hold_up_writing(connection: sqlite3.Connection, tmp_path: Path) -> None:
    insert(connection, [event(request_id="before")], NOON)
    reading = open_for_reading(tmp_path / "u.sqlite")
    reading.execute("BEGIN")
    assert reading.execute("SELECT count(*) FROM usage_events").fetchone()[0] == 1
    connection.execute("PRAGMA busy_timeout=0")
    assert insert(connection, [event(request_id="meanwhile")], NOON) == 1
    assert reading.execute("SELECT count(*) FROM usage_events").fetchone()[0] == 1
    reading.close()


def test_a_recorded_event_does_not_change_with_what_it_was_made_from() -> None:
    usage = Usage(input_total=10, output_total=5)
    tokens = tokens_of(usage, "openai")
    usage.input_total = 99
    assert tokens.total == 15


def test_an_attempt_without_usage_has_no_cost_and_no_tokens(connection: sqlite3.Connection) -> None:
    tokens = tokens_in("openai", openai())
    row = row_of(connection, event(tokens=tokens))
    assert (row["total_tokens"], row["cost_nanos"]) == (0, None)


def test_estimates_stay_marked_in_the_row(connection: sqlite3.Connection) -> None:
    assert row_of(connection, event(estimated=True))["estimated"] == 1
    assert row_of(connection, event(request_id="other"))["estimated"] == 0
