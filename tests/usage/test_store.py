"""The durable record: nothing lost, nothing twice, whatever happens to disk and process."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cpa.usage import insert as inserting
from cpa.usage import store as storing
from cpa.usage.event import bucket, parse_timestamp, timestamp
from cpa.usage.retention import prune_events
from cpa.usage.schema import VERSION, DatabaseTooNew, open_database, open_for_reading
from tests.usage.conftest import NOON, MakeStore, event

ROUNDS = int(os.environ.get("CPA_KILL_ROUNDS", "5"))
FAULTS = int(os.environ.get("CPA_DISK_FAULTS", "25"))


def count(path: Path, table: str = "usage_events") -> int:
    connection = open_for_reading(path)
    try:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    finally:
        connection.close()


def test_events_are_written_once_with_their_sums(make_store: MakeStore) -> None:
    store = make_store()
    for number in range(3):
        store.record(event(request_id=f"r{number}"))
    store.record(event(request_id="r0"))
    assert store.flush()
    assert count(store.path) == 3
    connection = open_for_reading(store.path)
    row = connection.execute("SELECT * FROM usage_rollups").fetchone()
    assert (row["request_count"], row["total_tokens"], row["latency_total_ms"]) == (3, 90, 2520)
    assert row["bucket_start"] == "2026-01-31T12:00:00Z"
    connection.close()
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_closing_writes_what_is_waiting(make_store: MakeStore) -> None:
    store = make_store()
    for number in range(500):
        store.record(event(request_id=f"r{number}"))
    store.close()
    assert count(store.path) == 500
    assert store.status().waiting == 0


def test_nothing_is_made_as_long_as_nothing_is_recorded(make_store: MakeStore) -> None:
    store = make_store()
    store.close()
    assert not store.path.exists()


def test_too_many_waiting_events_are_counted(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "MOST_WAITING", 10)
    monkeypatch.setattr(storing, "CLOSE_SECONDS", 0.2)
    monkeypatch.setattr("cpa.usage.store.open_database", _broken)
    store = make_store()
    for number in range(15):
        store.record(event(request_id=f"r{number}"))
    assert store.status().dropped == 5


def _broken(path: Path) -> sqlite3.Connection:
    raise sqlite3.OperationalError("disk I/O error")


def test_a_disk_that_comes_back_needs_no_restart(make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "RETRY_SECONDS", 0.02)
    store = make_store()
    with monkeypatch.context() as broken:
        broken.setattr("cpa.usage.store.open_database", _broken)
        store.record(event())
        assert not store.flush(0.5)
        status = store.status()
        assert (status.healthy, status.reason, status.waiting) == (False, "disk I/O error", 1)
    assert store.flush()
    assert store.status().healthy
    assert count(store.path) == 1


def test_what_cannot_be_written_at_the_end_is_written_at_the_next_start(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("cpa.usage.store.open_database", _broken)
        broken.setattr(storing, "CLOSE_SECONDS", 0.2)
        store = make_store()
        store.record(event(request_id="kept"))
        store.close()
    letter = store.path.with_name("usage.sqlite.unwritten.jsonl")
    assert letter.stat().st_mode & 0o777 == 0o600
    again = make_store()
    again.record(event(request_id="new"))
    assert again.flush()
    assert count(again.path) == 2
    assert not letter.exists()


class Failing:
    """A connection on which one statement fails."""

    def __init__(self, connection: sqlite3.Connection, at: int) -> None:
        self._connection = connection
        self._left = at

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise sqlite3.OperationalError("disk I/O error")

    def execute(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        self._count()
        return self._connection.executemany(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_whichever_write_fails_all_or_nothing_of_a_batch_is_there(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "u.sqlite")
    written = 0
    for at in range(1, FAULTS + 1):
        events = [event(request_id=f"{at}-{number}") for number in range(10)]
        failing: Any = Failing(connection, at)
        try:
            inserting.insert(failing, events, NOON)
            written += 10
        except sqlite3.OperationalError:
            pass
        assert connection.execute("SELECT count(*) FROM usage_events").fetchone()[0] == written
        assert connection.execute("SELECT coalesce(sum(request_count), 0) FROM usage_rollups").fetchone()[0] == written
        assert connection.execute("SELECT count(*) FROM usage_event_keys").fetchone()[0] == written
    assert connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
    connection.close()


WRITER = """
import sys, time
from pathlib import Path
import structlog
from cpa.usage.store import UsageStore
from tests.usage.conftest import event
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
store = UsageStore(Path(sys.argv[1]), structlog.get_logger(), lambda: 0, lambda event: event)
number = 0
while True:
    store.record(event(request_id=f"{sys.argv[2]}-{number}"))
    print(number, time.time(), flush=True)
    number += 1
    time.sleep(0.0005)
"""


def test_a_killed_process_loses_at_most_the_last_second(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "u.sqlite", 0
    root = Path(__file__).parents[2]
    for round_number in range(ROUNDS):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(round_number)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": str(root)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        ends = time.time() + 1.1 + random.random() * 0.4
        while time.time() < ends:
            lines.append(process.stdout.readline())
        killed = time.time()
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        acknowledged += sum(float(line.split()[1]) < killed - 1.0 for line in lines if line.endswith("\n"))
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
        assert connection.execute("SELECT count(*) FROM usage_events").fetchone()[0] >= acknowledged
        connection.close()


# -- databases of others -------------------------------------------------------------------------------------------

V1 = """
CREATE TABLE usage_events (id INTEGER PRIMARY KEY AUTOINCREMENT, event_key TEXT NOT NULL UNIQUE,
    api_group_key TEXT NOT NULL, provider TEXT NOT NULL DEFAULT '', endpoint TEXT NOT NULL DEFAULT '',
    auth_type TEXT NOT NULL DEFAULT '', request_id TEXT NOT NULL DEFAULT '', model TEXT NOT NULL,
    timestamp TEXT NOT NULL, source TEXT NOT NULL DEFAULT '', auth_index TEXT NOT NULL DEFAULT '',
    failed INTEGER NOT NULL DEFAULT 0, latency_ms INTEGER NOT NULL DEFAULT 0, input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0, reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0, total_tokens INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL);
CREATE INDEX idx_usage_events_timestamp ON usage_events (timestamp);
CREATE TABLE request_histories (id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL UNIQUE,
    log_name TEXT NOT NULL UNIQUE, url TEXT NOT NULL DEFAULT '', method TEXT NOT NULL DEFAULT '',
    status_code INTEGER NOT NULL DEFAULT 0, force INTEGER NOT NULL DEFAULT 0, request_timestamp TEXT,
    api_response_timestamp TEXT, log_text_gzip BLOB NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE usage_schema_migrations (id INTEGER PRIMARY KEY, version_id INTEGER, is_applied INTEGER, tstamp TEXT);
"""
V2 = """
ALTER TABLE usage_events ADD COLUMN cache_read_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE usage_events ADD COLUMN cache_creation_tokens INTEGER NOT NULL DEFAULT 0;
"""
V3 = """
CREATE TABLE usage_event_keys (event_key TEXT PRIMARY KEY, created_at TEXT) WITHOUT ROWID;
CREATE TABLE usage_rollups (bucket_start TEXT, api_group_key TEXT, provider TEXT, endpoint TEXT, auth_type TEXT,
    model TEXT, source TEXT, auth_index TEXT, failed INTEGER, request_count INTEGER NOT NULL DEFAULT 0,
    latency_total_ms INTEGER NOT NULL DEFAULT 0, latency_sample_count INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0, output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0, cached_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0, cache_creation_tokens INTEGER NOT NULL DEFAULT 0,
    total_tokens INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (bucket_start, api_group_key, provider, endpoint, auth_type,
    model, source, auth_index, failed)) WITHOUT ROWID;
INSERT INTO usage_event_keys SELECT event_key, created_at FROM usage_events;
INSERT INTO usage_rollups (bucket_start, api_group_key, provider, endpoint, auth_type, model, source, auth_index,
    failed, request_count, total_tokens) SELECT '2026-01-31T12:00:00Z', api_group_key, provider, endpoint, auth_type,
    model, source, auth_index, failed, count(*), sum(total_tokens) FROM usage_events GROUP BY 2, 3, 4, 5, 6, 7, 8, 9;
"""
V4 = "ALTER TABLE usage_events ADD COLUMN requested_model TEXT NOT NULL DEFAULT '';"


def foreign(path: Path, version: int) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(V1)
    for number, moment in enumerate(("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.5Z")):
        connection.execute(
            "INSERT INTO usage_events (event_key, api_group_key, model, timestamp, failed, total_tokens, created_at) "
            "VALUES (?, 'sk', 'm', ?, ?, 10, 'x')",
            (f"k{number}", moment, number),
        )
    for script in (V2, V3, V4)[: version - 1]:
        connection.executescript(script)
    connection.execute("INSERT INTO usage_schema_migrations VALUES (1, ?, 1, 'x')", (version,))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_a_database_of_the_program_before_is_taken_over_in_place(
    tmp_path: Path, make_store: MakeStore, version: int
) -> None:
    path = tmp_path / "u.sqlite"
    foreign(path, version)
    before = path.read_bytes()
    store = make_store("u.sqlite")
    store.record(event())
    assert store.flush()
    connection = open_for_reading(path)
    rows = connection.execute("SELECT * FROM usage_events ORDER BY id").fetchall()
    assert [row["ts_ms"] for row in rows[:2]] == [NOON, NOON + 500]
    assert [row["status_code"] for row in rows] == [200, 500, 200]
    assert connection.execute("SELECT sum(total_tokens) FROM usage_rollups").fetchone()[0] == 50
    assert connection.execute("SELECT count(*) FROM usage_event_keys").fetchone()[0] == 3
    connection.close()
    copy = tmp_path / f"u.sqlite.before-{VERSION}"
    assert count(copy) == 2
    assert copy.stat().st_mode & 0o777 == 0o600
    assert before


@pytest.mark.parametrize("newer", ["foreign", "own"])
def test_a_database_of_a_newer_program_is_refused_with_advice(tmp_path: Path, newer: str) -> None:
    path = tmp_path / "u.sqlite"
    if newer == "foreign":
        foreign(path, 4)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE usage_schema_migrations SET version_id = 5")
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
    monkeypatch.setattr("cpa.usage.schema._INDEXES", "CREATE INDEX nonsense ON missing (x);\n")
    with pytest.raises(sqlite3.OperationalError):
        open_database(path)
    with sqlite3.connect(path) as connection:
        columns = {row[1] for row in connection.execute("PRAGMA table_info(usage_events)")}
        assert "ts_ms" not in columns
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 0
    connection.close()


# -- retention -----------------------------------------------------------------------------------------------------


def test_old_events_go_and_their_sums_stay(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "u.sqlite")
    day = 86_400_000
    inserting.insert(connection, [event(request_id=f"r{n}", at_ms=NOON - n * day) for n in range(4)], NOON)
    assert prune_events(connection, 1, NOON + 1) == 3
    assert connection.execute("SELECT count(*) FROM usage_events").fetchone()[0] == 1
    assert connection.execute("SELECT sum(request_count) FROM usage_rollups").fetchone()[0] == 4
    assert inserting.insert(connection, [event(request_id="r3", at_ms=NOON - 3 * day)], NOON) == 0
    connection.close()


# -- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31T12:00:00.5Z", NOON + 500),
        ("2026-01-31T12:00:00.123456789Z", NOON + 123),
        ("2026-01-31T13:00:00+01:00", NOON),
        ("2026-01-31 12:00:00", NOON),
    ],
)
def test_times_are_read_with_any_fraction(text: str, ms: int) -> None:
    assert parse_timestamp(text) == ms
    assert parse_timestamp(timestamp(ms)) == ms


def test_a_quarter_of_an_hour_begins_at_its_beginning() -> None:
    assert bucket(NOON + 899_999) == "2026-01-31T12:00:00Z"
    assert bucket(NOON + 900_000) == "2026-01-31T12:15:00Z"


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs to mount a small disk")
def test_a_full_disk_is_waited_for(tmp_path: Path, make_store: MakeStore, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], check=False).returncode:
        pytest.skip("cannot mount here")
    monkeypatch.setattr(storing, "RETRY_SECONDS", 0.02)
    try:
        store = make_store("disk/u.sqlite")
        ballast = disk / "ballast"
        store.record(event(request_id="first"))
        assert store.flush()
        with ballast.open("wb", buffering=0) as stream:
            try:
                while True:
                    stream.write(b"x" * 4096)
            except OSError:
                pass
        for number in range(3000):
            store.record(event(request_id=f"r{number}", fail_body="x" * 500))
        assert not store.flush(1.0)
        assert not store.status().healthy
        ballast.unlink()
        subprocess.run(["mount", "-o", "remount,size=32m", disk], check=True)
        assert store.flush()
        assert count(store.path) == 3001
        store.close()
    finally:
        subprocess.run(["umount", "-l", disk], check=False)
