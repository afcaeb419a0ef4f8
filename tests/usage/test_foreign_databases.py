"""Databases of CLIProxyAPI, in each of its four layouts, and of newer programs."""

from __future__ import annotations

import sqlite3
from datetime import UTC
from pathlib import Path
from typing import Any

import orjson
import pytest

from cpa.usage import tables
from cpa.usage.filters import EventFilter
from cpa.usage.insert import insert
from cpa.usage.overview import overview
from cpa.usage.queries import events_page
from cpa.usage.schema import VERSION, DatabaseTooNew, open_database
from cpa.usage.store import NotReady
from cpa.usage.transfer import import_json
from tests.usage.conftest import NOON, MakeStore, event
from tests.usage.earlier_layouts import foreign, own


def everything(path: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_database_of_the_program_before_is_taken_over_in_place(
    tmp_path: Path, make_store: MakeStore, version: int
) -> None:
    path = tmp_path / "u.sqlite"
    foreign(path, version)
    store = make_store("u.sqlite")
    store.open()
    assert store.flush()
    pruned = int(version >= 3)
    with store.reading() as connection:
        assert connection is not None
        usage = overview(connection)["usage"]
        assert (usage["total_requests"], usage["total_tokens"]) == (4 + pruned, 40 + 10 * pruned)
        assert (usage["failure_count"], usage["latency_total_ms"], usage["latency_sample_count"]) == (1, 860, 3)
        assert usage["cost_nanos"] == usage["priced_requests"] == 0
        page = events_page(connection, EventFilter())
        assert (page["total_count"], len(page["events"])) == (4, 4)
        assert page["sources"] == ["me"]
        times = connection.execute("SELECT ts_ms, status_code FROM usage_events ORDER BY id").fetchall()
        assert [tuple(row) for row in times] == [
            (NOON, 200),
            (NOON + 500, 500),
            (NOON + 123, 200),
            (NOON + 1000, 200),
        ]
    copy = tmp_path / f"u.sqlite.before-{VERSION}"
    assert everything(copy, "SELECT max(version_id) FROM usage_schema_migrations") == [(version,)]
    assert everything(copy, "SELECT count(*) FROM usage_events") == [(4,)]
    assert copy.stat().st_mode & 0o777 == 0o600
    assert everything(path, "SELECT request_id FROM request_histories") == [("r",)]


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_events_taken_over_are_recognised(tmp_path: Path, make_store: MakeStore, version: int) -> None:
    foreign(tmp_path / "u.sqlite", version)
    store = make_store("u.sqlite")
    keys = ["k0", "pruned", "new"] if version >= 3 else ["k0", "new"]
    lines = [
        {"event_key": key, "api_group_key": "sk", "model": "m", "timestamp": "2026-01-31T12:00:09Z", "request_id": key}
        for key in keys
    ]
    done = import_json(store.run, b"\n".join(orjson.dumps(line) for line in lines))
    assert (done.added, done.skipped, done.failed) == (1, len(keys) - 1, 0)
    assert everything(store.path, "SELECT count(*) FROM usage_events") == [(5,)]


@pytest.mark.parametrize("version", [101, 102, 103])
def test_a_database_of_an_earlier_cpa_is_brought_up_to_date(
    tmp_path: Path, make_store: MakeStore, version: int
) -> None:
    path = tmp_path / "u.sqlite"
    own(path, version)
    before = everything(path, "SELECT id, event_key, timestamp, ts_ms, request_id, final, cost_nanos FROM usage_events")
    store = make_store("u.sqlite")
    store.open()
    assert store.flush()
    with store.reading() as connection:
        assert connection is not None
        usage = overview(connection, group_by=["model", "reasoning_effort"], zone=UTC)["usage"]
        assert (usage["total_requests"], usage["client_requests"], usage["failure_count"]) == (5, 3, 2)
        assert (usage["cost_nanos"], usage["total_tokens"], usage["latency_total_ms"]) == (11, 50, 720)
        assert usage["requests_by_day"] == {"2026-01-30": 1, "2026-01-31": 4}
        effort = "high" if version >= 102 else ""
        assert {(each["model"], each["reasoning_effort"]): each["total_requests"] for each in usage["groups"]} == {
            ("m", effort): 2,
            ("c", ""): 3,
        }
        assert events_page(connection, EventFilter())["total_count"] == 4, "as the sums say"
        assert events_page(connection, EventFilter(models=("m",)))["total_count"] == 2
    query = "SELECT id, event_key, timestamp, ts_ms, request_id, final, cost_nanos FROM usage_events"
    assert everything(path, query) == before
    texts = "SELECT stream, user_agent, error_code, status_code FROM usage_events ORDER BY id"
    agent = "tool/1" if version >= 102 else ""
    assert everything(path, texts)[0] == (1, agent, "rate_limit", 429)
    days = everything(path, "SELECT day, sum(request_count), sum(total_tokens) FROM usage_days GROUP BY 1 ORDER BY 1")
    assert days == [("2026-01-30", 1, 0), ("2026-01-31", 4, 50)]
    tables = {row[0] for row in everything(path, "SELECT name FROM sqlite_master")}
    assert not {"earlier_events", "earlier_rollups"} & tables


def test_statuses_are_found_in_a_database_that_had_no_index_of_them(tmp_path: Path) -> None:
    path = tmp_path / "u.sqlite"
    former = open_database(path)
    former.execute("DROP INDEX idx_usage_attempts_status")
    insert(former, [event(request_id="r0"), event(request_id="r1", status=429, failed=True)], NOON)
    former.execute("PRAGMA user_version=105")
    former.close()
    connection = open_database(path)
    found = events_page(connection, EventFilter(status=429))
    assert (found["total_count"], found["events"][0]["request_id"]) == (1, "r1")
    assert events_page(connection, EventFilter(status=200))["total_count"] == 1
    connection.close()
    assert everything(tmp_path / f"u.sqlite.before-{VERSION}", "PRAGMA user_version") == [(105,)]


def test_a_file_that_is_not_taken_over_yet_is_not_read(tmp_path: Path, make_store: MakeStore) -> None:
    path = tmp_path / "u.sqlite"
    foreign(path, 4)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE usage_schema_migrations SET version_id = 5 WHERE version_id = 4")
    connection.close()
    store = make_store("u.sqlite")
    store.open()
    store.flush()
    with pytest.raises(NotReady, match="usage-database-path"), store.reading():
        pass
    assert "newer program" in store.status().reason


@pytest.mark.parametrize("newer", ["foreign", "own"])
def test_a_database_of_a_newer_program_is_refused_with_advice(tmp_path: Path, newer: str) -> None:
    path = tmp_path / "u.sqlite"
    if newer == "foreign":
        foreign(path, 4)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE usage_schema_migrations SET version_id = 5 WHERE version_id = 4")
    else:
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(DatabaseTooNew, match="usage-database-path"):
        open_database(path)
    assert path.read_bytes() == before


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "u.sqlite"
    foreign(path, 2)
    monkeypatch.setattr(tables, "INDEXES", "CREATE INDEX nonsense ON missing (x);\n")
    with pytest.raises(sqlite3.OperationalError):
        open_database(path)
    assert everything(path, "SELECT count(*) FROM usage_events") == [(4,)]
    assert "ts_ms" not in {row[1] for row in everything(path, "PRAGMA table_info(usage_events)")}
    assert everything(path, "PRAGMA user_version") == [(0,)]


def test_half_a_copy_is_not_taken_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "u.sqlite"
    foreign(path, 2)
    with monkeypatch.context() as full:
        full.setattr("cpa.usage.schema.os.replace", _no_space)
        with pytest.raises(OSError, match="No space"):
            open_database(path)
    assert [each.name for each in tmp_path.iterdir() if "before" in each.name] == []
    open_database(path).close()
    assert everything(tmp_path / f"u.sqlite.before-{VERSION}", "SELECT count(*) FROM usage_events") == [(4,)]


def _no_space(source: Path, target: Path) -> None:
    raise OSError(28, "No space left on device")
