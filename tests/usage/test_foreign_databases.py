"""Databases of CLIProxyAPI, in each of its four layouts, and of newer programs."""

from __future__ import annotations

import sqlite3
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

V1 = """
CREATE TABLE usage_events (id INTEGER PRIMARY KEY AUTOINCREMENT, event_key TEXT NOT NULL UNIQUE,
    api_group_key TEXT NOT NULL, provider TEXT NOT NULL DEFAULT '', endpoint TEXT NOT NULL DEFAULT '',
    auth_type TEXT NOT NULL DEFAULT '', request_id TEXT NOT NULL DEFAULT '', model TEXT NOT NULL,
    timestamp TEXT NOT NULL, source TEXT NOT NULL DEFAULT '', auth_index TEXT NOT NULL DEFAULT '',
    failed INTEGER NOT NULL DEFAULT 0, latency_ms INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0, total_tokens INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL);
CREATE INDEX idx_usage_events_timestamp ON usage_events (timestamp);
CREATE INDEX idx_usage_events_model ON usage_events (model);
CREATE INDEX idx_usage_events_source ON usage_events (source);
CREATE INDEX idx_usage_events_auth_index ON usage_events (auth_index);
CREATE INDEX idx_usage_events_failed ON usage_events (failed);
CREATE INDEX idx_usage_events_request_id ON usage_events (request_id);
CREATE TABLE request_histories (id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE,
    log_name TEXT NOT NULL UNIQUE, url TEXT NOT NULL DEFAULT '', method TEXT NOT NULL DEFAULT '',
    status_code INTEGER NOT NULL DEFAULT 0, force INTEGER NOT NULL DEFAULT 0, request_timestamp TEXT,
    api_response_timestamp TEXT, log_text_gzip BLOB NOT NULL, created_at TEXT NOT NULL);
CREATE INDEX idx_request_histories_force ON request_histories (force);
CREATE INDEX idx_request_histories_created_at ON request_histories (created_at);
CREATE TABLE usage_schema_migrations (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
"""
V2 = """
ALTER TABLE usage_events ADD COLUMN cache_read_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_events ADD COLUMN cache_creation_tokens INTEGER NOT NULL DEFAULT 0;
"""
V3 = """
CREATE TABLE usage_event_keys (event_key TEXT PRIMARY KEY, created_at TEXT) WITHOUT ROWID;
CREATE TABLE usage_rollups (bucket_start TEXT NOT NULL, api_group_key TEXT NOT NULL, provider TEXT NOT NULL,
    endpoint TEXT NOT NULL, auth_type TEXT NOT NULL, model TEXT NOT NULL, source TEXT NOT NULL,
    auth_index TEXT NOT NULL, failed INTEGER NOT NULL, request_count INTEGER NOT NULL DEFAULT 0,
    latency_total_ms INTEGER NOT NULL DEFAULT 0, latency_sample_count INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0, cache_creation_tokens INTEGER NOT NULL DEFAULT 0,
    total_tokens INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (bucket_start, api_group_key, provider, endpoint, auth_type,
    model, source, auth_index, failed)) WITHOUT ROWID;
CREATE INDEX idx_usage_rollups_model ON usage_rollups (model);
CREATE INDEX idx_usage_rollups_source ON usage_rollups (source);
CREATE INDEX idx_usage_rollups_auth_index ON usage_rollups (auth_index);
INSERT INTO usage_event_keys SELECT event_key, created_at FROM usage_events;
INSERT INTO usage_rollups SELECT '2026-01-31T12:00:00Z', api_group_key, provider, endpoint, auth_type,
    model, source, auth_index, failed, count(*), sum(latency_ms), sum(latency_ms > 0), sum(input_tokens),
    sum(output_tokens), sum(reasoning_tokens), sum(cached_tokens), sum(cache_read_tokens), sum(cache_creation_tokens),
    sum(total_tokens) FROM usage_events GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
"""
V4 = """
ALTER TABLE usage_events ADD COLUMN requested_model TEXT NOT NULL DEFAULT '';
CREATE INDEX idx_usage_events_requested_model ON usage_events (requested_model);
"""
ROWS = (
    ("k0", "sk", "2026-01-31T12:00:00Z", 0, 840),
    ("k1", "sk", "2026-01-31T12:00:00.5Z", 1, 0),
    ("k2", "other", "2026-01-31T12:00:00.123456789Z", 0, 10),
    ("k3", "other", "2026-01-31T14:00:01+02:00", 0, 10),
)
"""(event_key, api_group_key, timestamp, failed, latency_ms)"""


def foreign(path: Path, version: int) -> None:
    """Make the file as that version leaves it: four events of ten tokens, a history; from version 3 a pruned event."""
    connection = sqlite3.connect(path)
    connection.executescript(V1)
    for key, group, moment, failed, latency in ROWS:
        connection.execute(
            "INSERT INTO usage_events (event_key, api_group_key, provider, model, timestamp, source, failed, "
            "latency_ms, input_tokens, output_tokens, total_tokens, created_at) "
            "VALUES (?, ?, 'codex', 'm', ?, 'me', ?, ?, 6, 4, 10, '2026-01-31T12:00:02Z')",
            (key, group, moment, failed, latency),
        )
    connection.execute(
        "INSERT INTO request_histories (request_id, log_name, log_text_gzip, created_at) "
        "VALUES ('r', 'l', x'1f', 'now')"
    )
    for number, script in enumerate(("", V2, V3, V4)[:version], 1):
        connection.executescript(script)
        connection.execute("INSERT INTO usage_schema_migrations (version_id, is_applied) VALUES (?, 1)", (number,))
    if version >= 3:
        connection.execute("INSERT INTO usage_event_keys VALUES ('pruned', '2026-01-01T00:00:00Z')")
        connection.execute(
            "INSERT INTO usage_rollups (bucket_start, api_group_key, provider, endpoint, auth_type, model, source, "
            "auth_index, failed, request_count, total_tokens) "
            "VALUES ('2026-01-01T00:00:00Z', 'sk', 'codex', '', '', 'm', 'me', '', 0, 1, 10)"
        )
    connection.commit()
    connection.close()


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


def test_a_database_of_an_earlier_cpa_is_brought_up_to_date(tmp_path: Path, make_store: MakeStore) -> None:
    path = tmp_path / "u.sqlite"
    connection = open_database(path)
    insert(connection, [event(request_id=f"r{n}", cost_nanos=5) for n in range(3)], NOON)
    connection.execute("DROP TABLE usage_days")
    connection.execute("DROP TABLE usage_quarters")
    connection.execute("ALTER TABLE usage_rollups DROP COLUMN priced_tokens")
    connection.execute("ALTER TABLE usage_events DROP COLUMN service_tier")
    connection.execute("PRAGMA user_version=101")
    connection.close()
    store = make_store("u.sqlite")
    store.open()
    assert store.flush()
    with store.reading() as connection:
        assert connection is not None
        usage = overview(connection)["usage"]
        assert (usage["total_requests"], usage["cost_nanos"], usage["requests_by_day"]) == (3, 15, {"2026-01-31": 3})


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
