"""Sums and pages: of all dimensions, and the same whether quarters of an hour are summed by themselves or as hours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from cpa.cli.usage import BY
from cpa.usage.compaction import compact_sums
from cpa.usage.event import QUARTER_MS
from cpa.usage.filters import EventFilter
from cpa.usage.insert import insert
from cpa.usage.overview import GROUPS, NAMES, overview, summary
from cpa.usage.queries import events_page
from cpa.usage.schema import open_database, transaction
from cpa.usage.tables import PLACE
from tests.usage.conftest import NOON, event

DAY = 86_400_000
LATER = NOON + 92 * DAY
"""Two days of quarters of an hour are old enough then."""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = open_database(tmp_path / "u.sqlite")
    yield opened
    opened.close()


def test_totals_are_grouped_by_what_is_asked_for(connection: sqlite3.Connection) -> None:
    made = [
        event(request_id="a", reasoning_effort="high", requested_model="g5", cost_nanos=5),
        event(request_id="b", reasoning_effort="high", requested_model="g5", failed=True, status=500),
        event(request_id="c", reasoning_effort="low", requested_model="g5", response_service_tier="flex"),
        event(request_id="d", requested_model="other"),
    ]
    insert(connection, made, NOON)
    usage = overview(connection, group_by=["requested_model", "reasoning_effort"])["usage"]
    found = [
        (each["requested_model"], each["reasoning_effort"], each["total_requests"], each["failure_count"])
        for each in usage["groups"]
    ]
    assert found[0] == ("g5", "high", 2, 1)
    assert sorted(found[1:]) == [("g5", "low", 1, 0), ("other", "", 1, 0)]
    assert usage["groups"][0]["cost_nanos"] == 5
    assert sum(each["total_tokens"] for each in usage["groups"]) == usage["total_tokens"]
    tiers = overview(connection, group_by=["response_service_tier", "failed"])["usage"]["groups"]
    assert (tiers[0]["response_service_tier"], tiers[0]["failed"], tiers[0]["total_requests"]) == ("", 0, 2)
    assert [(row["name"], row["attempts"]) for row in summary(connection, "effort")] == [
        ("high", 2), ("", 1), ("low", 1)
    ]  # fmt: skip


def test_everything_kept_apart_can_be_asked_for() -> None:
    assert set(GROUPS) == {*PLACE, "failed"}
    assert set(BY) == {"day", *NAMES}


def asked(connection: sqlite3.Connection) -> list[Any]:
    """What panels ask, all of it by time."""
    hour = 4 * QUARTER_MS
    spans = [(None, None), (NOON - DAY, None), (None, NOON + hour - 1), (NOON + 5 * hour, NOON + DAY - 1)]
    found: list[Any] = []
    for start, end in spans:
        usage = overview(connection, start, end, details=False, zone=UTC, group_by=["model"])["usage"]
        page = events_page(connection, EventFilter(start_ms=start, end_ms=end, page_size=20, page=2))
        found += [usage, page["total_count"], [each["request_id"] for each in page["events"]]]
    return found


def test_old_quarters_of_an_hour_become_hours_and_nothing_else_changes(connection: sqlite3.Connection) -> None:
    made = [
        event(request_id=f"r{number}", at_ms=NOON + number * 7 * 60_000, model=f"m{number % 3}", failed=number % 5 == 0)
        for number in range(500)
    ]
    insert(connection, made, NOON)
    before, rows = asked(connection), connection.execute("SELECT count(*) FROM usage_sums").fetchone()[0]
    steps = 0
    while True:
        with transaction(connection):
            if not compact_sums(connection, LATER):
                break
        steps += 1
    assert steps == 2
    assert asked(connection) == before
    assert connection.execute("SELECT count(*) FROM usage_sums").fetchone()[0] < rows * 0.75
    old = connection.execute("SELECT count(*) FROM usage_rollups WHERE bucket_start < '2026-02-02' AND ("
                             "bucket_start NOT LIKE '%:00:00Z')").fetchone()[0]  # fmt: skip
    assert old == 0
    assert connection.execute("SELECT sum(request_count) FROM usage_rollups").fetchone()[0] == 500


def test_events_that_come_later_are_summed_with_their_hour_and_found(connection: sqlite3.Connection) -> None:
    with transaction(connection):
        assert not compact_sums(connection, LATER)
    at = NOON + 3 * QUARTER_MS + 5
    insert(connection, [event(request_id="late", at_ms=at), event(request_id="later", at_ms=at + 1)], LATER)
    assert [row[0] for row in connection.execute("SELECT bucket_start FROM usage_rollups")] == ["2026-01-31T12:00:00Z"]
    for wanted in (EventFilter(), EventFilter(start_ms=at), EventFilter(start_ms=at - 10, end_ms=at + 10)):
        page = events_page(connection, wanted)
        assert (page["total_count"], [each["request_id"] for each in page["events"]]) == (2, ["later", "late"])
