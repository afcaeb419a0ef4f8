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
from cpa.usage.health import Health
from cpa.usage.insert import insert
from cpa.usage.price import Price
from cpa.usage.price_rows import PriceRow
from cpa.usage.prices import PriceTable
from cpa.usage.retention import prune_events
from cpa.usage.schema import open_database, open_for_reading, transaction
from cpa.usage.tokens import Tokens
from tests.usage.conftest import NOON, MakeStore, attempted, event, kind

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


def test_an_attempt_that_cannot_be_written_keeps_no_other_from_it(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "RETRY_SECONDS", 0.02)
    store, impossible = make_store(), attempted(request_id="impossible", started_at=float("inf"))
    with monkeypatch.context() as broken:
        broken.setattr("cpa.usage.store.open_database", _broken)
        for each in (attempted(request_id="a"), impossible, event(request_id="b"), attempted(request_id="c")):
            store.record(each)
        assert not store.flush(0.3)
    assert store.flush()
    assert (store.status().written, store.status().rejected, store.status().waiting) == (3, 1, 0)
    with store.reading() as connection:
        assert connection is not None
        found = connection.execute("SELECT request_id FROM usage_events ORDER BY id").fetchall()
    assert [row[0] for row in found] == ["a", "b", "c"]


def test_what_is_recorded_gets_its_cost_though_pricing_may_fail(make_store: MakeStore) -> None:
    table, store = PriceTable({"m": PriceRow(Price(2_000_000, 0), "")}), make_store(prices=lambda: table)
    store.record(attempted(kind=kind(model="m"), told=(7, 0, 0, 0, 1, 0, 8)))
    assert store.flush()
    table.costing = _broken  # type: ignore[assignment, method-assign]
    store.record(attempted(kind=kind(model="m"), told=(7, 0, 0, 0, 1, 0, 8)))
    assert store.flush()
    with store.reading() as connection:
        assert connection is not None
        assert [row[0] for row in connection.execute("SELECT cost_nanos FROM usage_events ORDER BY id")] == [14, None]


def test_attempts_that_are_left_in_a_file_have_their_cost(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = PriceTable({"m": PriceRow(Price(2_000_000, 0), "")})
    with monkeypatch.context() as broken:
        broken.setattr("cpa.usage.store.open_database", _broken)
        broken.setattr(storing, "CLOSE_SECONDS", 0.2)
        store = make_store(prices=lambda: table)
        store.record(attempted(kind=kind(model="m"), told=(7, 0, 0, 0, 1, 0, 8)))
        store.close()
    again = make_store()
    again.open()
    assert again.flush()
    with again.reading() as connection:
        assert connection is not None
        assert [row[0] for row in connection.execute("SELECT cost_nanos FROM usage_events")] == [14]


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


def test_a_disk_that_fails_over_and_over_is_told_of_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Log:
        def warning(self, text: str, **_: Any) -> None:
            said.append(text)

        info = warning

    now = 1000.0
    monkeypatch.setattr("cpa.usage.health.time.monotonic", lambda: now)
    health = Health(tmp_path, Log())
    for _ in range(120):
        health.failed(OSError("no"), 1)
        health.well(0)
        now += 1.0
    assert said == ["usage cannot be recorded, it waits in memory", "usage is recorded again"] * 2
    assert (health.failures, health.reason, health.failing_since) == (120, "", None)


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
        for table in ("usage_days", "usage_quarters"):
            assert connection.execute(f"SELECT coalesce(sum(request_count), 0) FROM {table}").fetchone()[0] == written
    assert connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
    connection.close()


WRITER = """
import sys, time
from pathlib import Path
import structlog
from cpa.usage.store import UsageStore
from tests.usage.conftest import event
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
store = UsageStore(Path(sys.argv[1]), structlog.get_logger(), lambda: 0)
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


# -- retention -----------------------------------------------------------------------------------------------------


def test_tidying_up_is_for_now_and_then_not_for_every_write(make_store: MakeStore) -> None:
    store = make_store()
    tidied = []
    store.upkeep.append(lambda connection, now_ms: bool(tidied.append(now_ms)))
    for number in range(5):
        store.record(event(request_id=f"r{number}"))
        assert store.flush()
    assert len(tidied) == 1


def test_old_events_go_and_their_sums_stay(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "u.sqlite")
    day = 86_400_000
    inserting.insert(connection, [event(request_id=f"r{n}", at_ms=NOON - n * day) for n in range(4)], NOON)
    with transaction(connection):
        assert prune_events(connection, 1, NOON + 1)
        assert not prune_events(connection, 1, NOON + 1)
    assert connection.execute("SELECT count(*) FROM usage_events").fetchone()[0] == 1
    assert connection.execute("SELECT sum(request_count) FROM usage_rollups").fetchone()[0] == 4
    connection.close()


def test_texts_go_with_the_last_attempt_that_has_them(tmp_path: Path) -> None:
    connection = open_database(tmp_path / "u.sqlite")
    day = 86_400_000
    for at, agent in ((NOON - 9 * day, "old"), (NOON, "new")):
        inserting.insert(connection, [event(at_ms=at, user_agent=agent)], at)
    with transaction(connection):
        while prune_events(connection, 3, NOON):
            pass
    assert [row[0] for row in connection.execute("SELECT user_agent FROM usage_origins")] == ["new"]
    assert connection.execute("SELECT sum(request_count) FROM usage_rollups").fetchone()[0] == 2
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


def test_old_rows_are_looked_for_now_and_then_and_not_at_every_write(make_store: MakeStore) -> None:
    store = make_store()
    tidied: list[int] = []
    store.upkeep.append(lambda connection, now_ms: bool(tidied.append(now_ms)))
    for number in range(5):
        store.record(event(request_id=f"r{number}"))
        assert store.flush()
    store.close()
    assert len(tidied) == 1


@pytest.mark.parametrize("number", [2**53, 2**62, 2**63 - 1])
def test_sums_that_no_database_takes_hold_nothing_up(make_store: MakeStore, number: int) -> None:
    store = make_store()
    for index in range(3):
        tokens = Tokens(input=number, total=number)
        store.record(event(key=f"big{index}", tokens=tokens))
    store.record(event(key="good"))
    assert store.flush(5)
    store.record(event(key="later"))
    assert store.flush(5)
    assert store.status().healthy


@pytest.mark.parametrize("size", [1, 9, 10, 11, 99, 100, 101, 333, 500])
def test_duplicates_within_a_batch_count_once(tmp_path: Path, size: int) -> None:
    connection = open_database(tmp_path / "u.sqlite")
    keys = [f"k{number * 7 % (size // 2 + 1)}" for number in range(size)]
    assert insert(connection, [event(key=key) for key in keys], 1_700_000_000_000) == len(set(keys))
    assert insert(connection, [event(key=key) for key in keys], 1_700_000_000_000) == 0
    sums = connection.execute("SELECT sum(total_tokens) FROM usage_days").fetchone()[0]
    assert sums == connection.execute("SELECT sum(total_tokens) FROM usage_events").fetchone()[0]
    connection.close()
