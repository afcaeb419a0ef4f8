"""A real daemon goes on answering, and its record stays whole, whatever happens to its disk and its process.

CPA_KILL_ROUNDS and CPA_DISK_FAULTS set how often (2 and 4 unless told).
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import KEY, RunningDaemon, Upstream, free_port
from scripted import ScriptedUpstream

from tests.usage.failing_disk import FailingDisk

ROUNDS = int(os.environ.get("CPA_KILL_ROUNDS", "2"))
FAULTS = int(os.environ.get("CPA_DISK_FAULTS", "4"))
MANAGEMENT = "management-key-for-tests"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    running = Upstream(ScriptedUpstream().app)
    yield running
    running.stop()


def configuration(upstream: Upstream, folder: Path, database: Path) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(folder / "auth"),
        "api-keys": [KEY],
        "usage-statistics-enabled": True,
        "usage-database-path": str(database),
        "openai-compatibility": [
            {
                "name": "up",
                "base-url": f"{upstream.url}/v1",
                "api-key-entries": [{"api-key": "k"}],
                "models": [{"name": "m", "alias": "m"}],
            }
        ],
    }


@pytest.fixture
def start(upstream: Upstream, tmp_path: Path) -> Iterator[Callable[..., RunningDaemon]]:
    """Start daemons whose database is where told."""
    started: list[RunningDaemon] = []

    def begin(database: Path, environ: dict[str, str] | None = None) -> RunningDaemon:
        folder = tmp_path / f"daemon-{len(started)}"
        folder.mkdir()
        config = configuration(upstream, folder, database)
        started.append(RunningDaemon(config, folder, {"MANAGEMENT_PASSWORD": MANAGEMENT, **(environ or {})}))
        return started[-1]

    yield begin
    for daemon in started:
        daemon.stop()


class Client:
    """One connection that asks over and over; ``answered`` is (request id, time of the answer)."""

    def __init__(self, daemon: RunningDaemon, name: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
        self._name = name
        self._number = 0
        self.answered: list[tuple[str, float]] = []

    def ask(self, *, stream: bool = False) -> None:
        """One request that must succeed. Raises OSError or HTTPException when the daemon is gone."""
        self._number += 1
        identity = f"{self._name}-{self._number}"
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": identity, "Content-Type": "application/json"}
        self._connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = self._connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        if not stream or b"[DONE]" in content:
            self.answered.append((identity, time.time()))

    def status(self) -> dict[str, Any]:
        """What the management API says of the record."""
        self._connection.request("GET", "/v0/management/usage/status", headers={"X-Management-Key": MANAGEMENT})
        answer = self._connection.getresponse()
        found: dict[str, Any] = json.loads(answer.read())
        assert answer.status == 200, found
        return found

    def write(self) -> None:
        """Have everything written at once, as every question about usage does."""
        self._connection.request("GET", "/v0/management/usage/events?limit=1", headers={"X-Management-Key": MANAGEMENT})
        self._connection.getresponse().read()

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 25.0) -> dict[str, Any]:
        """Wait for a state of the record."""
        end = time.monotonic() + seconds
        while True:
            status = self.status()
            if wanted(status):
                return status
            assert time.monotonic() < end, status
            time.sleep(0.05)


def recorded(path: Path) -> set[str]:
    """Request ids in a database that is found whole, with sums that fit."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        rows = [row[0] for row in connection.execute("SELECT request_id FROM usage_events")]
        assert len(rows) == len(set(rows))
        for table in ("usage_rollups", "usage_days", "usage_quarters"):
            assert connection.execute(f"SELECT sum(request_count) FROM {table}").fetchone()[0] == len(rows)
        return set(rows)
    finally:
        connection.close()


def until_gone(client: Client) -> None:
    try:
        while True:
            client.ask(stream=random.random() < 0.5)
    except (OSError, http.client.HTTPException):
        return


@pytest.mark.timeout(60 + 15 * ROUNDS)
def test_a_killed_daemon_has_kept_what_it_answered_a_second_before(
    start: Callable[..., RunningDaemon], tmp_path: Path
) -> None:
    database, must, may = tmp_path / "usage.sqlite", set[str](), set[str]()
    for number in range(ROUNDS):
        daemon = start(database)
        clients = [Client(daemon, f"k{number}-{each}") for each in range(4)]
        threads = [threading.Thread(target=until_gone, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(0.3, 2.5))
        killed = time.time()
        daemon.process.kill()
        daemon.process.wait()
        for thread in threads:
            thread.join()
        for client in clients:
            must |= {identity for identity, at in client.answered if at < killed - 1.0}
            may |= {identity for identity, _ in client.answered}
        kept = recorded(database)
        assert must <= kept, f"round {number}: {len(must - kept)} lost"
    print(f"{ROUNDS} kills, {len(may)} answered, {len(kept)} recorded, {len(may - kept)} of the last second lost")


def test_a_daemon_that_is_asked_to_end_loses_nothing(start: Callable[..., RunningDaemon], tmp_path: Path) -> None:
    database = tmp_path / "usage.sqlite"
    daemon = start(database)
    clients = [Client(daemon, f"t{each}") for each in range(4)]
    threads = [threading.Thread(target=until_gone, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    time.sleep(0.6)
    daemon.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert daemon.process.wait(20) == 0
    answered = {identity for client in clients for identity, _ in client.answered}
    assert len(answered) > 10
    assert answered <= recorded(database)


@pytest.mark.timeout(60 + 15 * FAULTS)
def test_writes_that_fail_are_made_up_for_while_requests_go_on(
    start: Callable[..., RunningDaemon], tmp_path: Path
) -> None:
    disk = FailingDisk(tmp_path, "/usage.sqlite")
    database = tmp_path / "usage.sqlite"
    daemon = start(database, disk.environ)
    client = Client(daemon, "f")
    client.ask()
    client.write()
    for nth in range(1, FAULTS + 1):
        disk.fail(nth)
        while not disk.has_failed:
            client.ask(stream=nth % 2 == 0)
            client.write()
        status = client.wait_for(lambda found: found["healthy"] and not found["waiting"])
    assert status["written"] == len(client.answered)
    assert status["failures"] > FAULTS // 2
    assert (status["dropped"], status["rejected"], status["put_aside"]) == (0, 0, [])
    assert daemon.stop() == 0
    assert recorded(database) == {identity for identity, _ in client.answered}
    print(f"{FAULTS} failed writes, {status['failures']} noticed, {len(client.answered)} answered and recorded")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("needs to mount a small disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False).returncode:
        pytest.skip("cannot mount here")
    yield disk
    subprocess.run(["umount", "-l", disk], check=False)


def test_a_full_disk_stops_no_request_and_is_written_to_again_once_there_is_room(
    start: Callable[..., RunningDaemon], small_disk: Path
) -> None:
    database = small_disk / "usage.sqlite"
    daemon = start(database)
    client = Client(daemon, "d")
    client.ask()
    client.wait_for(lambda found: found["written"] == 1)
    with (small_disk / "ballast").open("wb", buffering=0) as ballast:
        while True:
            try:
                ballast.write(b"x" * 1024)
            except OSError:
                break
    status = client.status()
    while status["healthy"]:
        client.ask()
        status = client.status()
    assert "full" in status["reason"]
    for _ in range(20):
        client.ask()
    status = client.status()
    assert status["failing_since"] is not None
    assert status["waiting"] > 0
    (small_disk / "ballast").unlink()
    client.wait_for(lambda found: found["healthy"] and not found["waiting"])
    assert daemon.stop() == 0
    assert daemon.output().count("usage cannot be recorded") == 1
    assert daemon.output().count("usage is recorded again") == 1
    assert recorded(database) == {identity for identity, _ in client.answered}


def test_a_read_only_disk_stops_no_request_and_is_written_to_once_it_is_not(
    start: Callable[..., RunningDaemon], small_disk: Path
) -> None:
    database = small_disk / "usage.sqlite"
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    daemon = start(database)
    client = Client(daemon, "r")
    for _ in range(20):
        client.ask()
    status = client.wait_for(lambda found: not found["healthy"])
    assert status["waiting"] == 20
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    client.wait_for(lambda found: found["healthy"] and not found["waiting"])
    assert daemon.stop() == 0
    assert recorded(database) == {identity for identity, _ in client.answered}


def test_a_damaged_database_is_put_aside_and_another_one_begun(
    start: Callable[..., RunningDaemon], tmp_path: Path
) -> None:
    database = tmp_path / "usage.sqlite"
    database.write_bytes(b"SQLite format 3\x00" + bytes(range(256)) * 40)
    daemon = start(database)
    client = Client(daemon, "c")
    client.ask()
    status = client.wait_for(lambda found: found["written"] == 1)
    assert status["healthy"]
    (aside,) = status["put_aside"]
    assert Path(aside).read_bytes().startswith(b"SQLite format 3\x00\x00\x01\x02")
    assert daemon.stop() == 0
    assert aside in daemon.output()
    assert ".recover" in daemon.output()
    assert recorded(database) == {identity for identity, _ in client.answered}
