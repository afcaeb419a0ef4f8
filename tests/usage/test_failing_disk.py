"""Every single write of the record fails once: nothing is lost, nothing is twice, nothing is damaged.

CPA_DISK_FAULTS sets how many (12 unless told).
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.usage.failing_disk import FailingDisk

FAULTS = int(os.environ.get("CPA_DISK_FAULTS", "12"))
ROOT = Path(__file__).parents[2]

# Reads "new PATH", "record COUNT" and "close" from standard input, answers each with "failures written".
PROGRAM = """
import sys
from pathlib import Path
import structlog
from cpa.usage import store as storing
from tests.usage.conftest import event
structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
storing.RETRY_SECONDS = 0.001
number = 0
for line in sys.stdin:
    word, _, rest = line.strip().partition(" ")
    if word == "new":
        store = storing.UsageStore(Path(rest), structlog.get_logger(), lambda: 0)
    elif word == "record":
        for _ in range(int(rest)):
            store.record(event(request_id=f"r{number}", model=f"m{number % 7}", fail_body="x" * (number % 700)))
            number += 1
        assert store.flush(20)
    else:
        store.close()
    status = store.status()
    print(status.failures, status.written, status.waiting, status.dropped, len(status.put_aside), flush=True)
"""

pytestmark = pytest.mark.timeout(60 + 5 * FAULTS)


class Recorder:
    """A process that records on a failing disk."""

    def __init__(self, disk: FailingDisk) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env={**disk.environment(), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> tuple[int, ...]:
        """(failures, written, waiting, dropped, put aside)"""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the process is gone after {line!r}"
        return tuple(map(int, answer.split()))

    def end(self) -> None:
        """Let it go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(20) == 0


def check(path: Path, events: int) -> None:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT count(*) FROM usage_events").fetchone() == (events,)
        for table in ("usage_rollups", "usage_days", "usage_quarters"):
            assert connection.execute(f"SELECT sum(request_count) FROM {table}").fetchone() == (events,)
    finally:
        connection.close()


def test_whichever_write_to_a_new_database_fails_it_is_made_all_the_same(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path, "/usage.sqlite")
    recorder = Recorder(disk)
    for nth in range(1, FAULTS + 1):
        path = tmp_path / str(nth) / "usage.sqlite"
        recorder.tell(f"new {path}")
        disk.fail(nth)
        failures, written, waiting, dropped, aside = recorder.tell("record 20")
        assert (written, waiting, dropped, aside) == (20, 0, 0, 0)
        assert failures <= 1
        recorder.tell("close")
        check(path, 20)
    recorder.end()


def test_whichever_write_fails_later_on_nothing_is_lost_and_nothing_twice(tmp_path: Path) -> None:
    disk = FailingDisk(tmp_path, "/usage.sqlite")
    recorder = Recorder(disk)
    path = tmp_path / "usage.sqlite"
    recorder.tell(f"new {path}")
    recorder.tell("record 1")
    recorded = 1
    noticed = 0
    for nth in range(1, FAULTS + 1):
        disk.fail(nth)
        while not disk.has_failed:
            failures, written, waiting, dropped, aside = recorder.tell("record 5")
            recorded += 5
            assert (written, waiting, dropped, aside) == (recorded, 0, 0, 0)
            noticed = failures
    assert noticed > FAULTS // 2, "the writes that failed were none that SQLite needs"
    recorder.tell("close")
    recorder.end()
    check(path, recorded)


@pytest.mark.parametrize("error", [28, 30])
def test_a_disk_that_is_full_or_read_only_for_a_while_is_waited_for(tmp_path: Path, error: int) -> None:
    disk = FailingDisk(tmp_path, "/usage.sqlite")
    recorder = Recorder(disk)
    path = tmp_path / "usage.sqlite"
    recorder.tell(f"new {path}")
    recorder.tell("record 10")
    disk.fail(1, times=15, error=error)
    failures, written, waiting, dropped, _ = recorder.tell("record 10")
    assert (written, waiting, dropped) == (20, 0, 0)
    assert failures > 1
    recorder.tell("close")
    recorder.end()
    check(path, 20)
