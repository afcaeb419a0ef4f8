"""The durable usage record: events go in without waiting, a thread of its own writes them in batches."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson
from msgspec import Struct, to_builtins

from cpa.usage.event import Event
from cpa.usage.insert import insert
from cpa.usage.retention import prune_events
from cpa.usage.schema import DatabaseTooNew, open_database

BATCH = 500
BATCH_SECONDS = 0.25
RETRY_SECONDS = 1.0
MOST_WAITING = 100_000
"""Events that wait for a disk that fails; more are dropped and counted."""
PRUNE_SECONDS = 600.0
CLOSE_SECONDS = 10.0

Complete = Callable[[Event], Event]


class StoreStatus(Struct):
    """How the record fares."""

    path: str
    healthy: bool
    reason: str
    """Why it is not healthy; empty otherwise."""
    waiting: int
    written: int
    dropped: int
    """Events lost since the start because too many were waiting."""


class UsageStore:
    """Owns the one connection that writes. ``record`` never blocks and never raises.

    A disk that fails keeps events waiting in memory; writing goes on by itself once the disk works again.
    """

    def __init__(self, path: Path, log: Any, retention_days: Callable[[], int], complete: Complete) -> None:
        """``complete`` adds to an event what need not be found on the event loop (its cost); called in the thread."""
        self.path = path
        self._log = log
        self._retention_days = retention_days
        self._complete = complete
        self._waiting: deque[Event] = deque()
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._closing = False
        self._reason = ""
        self._written = self._dropped = self._busy = 0
        self._connection: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    def record(self, event: Event) -> None:
        """Take an event."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        self._waiting.append(event)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="cpa-usage", daemon=True)
            self._thread.start()

    def status(self) -> StoreStatus:
        """How it fares right now."""
        return StoreStatus(
            str(self.path), not self._reason, self._reason, len(self._waiting), self._written, self._dropped
        )

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait until everything recorded so far is in the file; False when it is not after ``timeout`` seconds."""
        self._wake.set()
        with self._idle:
            return self._idle.wait_for(lambda: not self._waiting and not self._busy, timeout)

    def do(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run ``work`` on a connection of its own that may write, and give what it gives. Blocks; raises its errors."""
        self.flush()
        connection = open_database(self.path)
        try:
            return work(connection)
        finally:
            connection.close()

    def close(self) -> None:
        """Write what is waiting, as far as the disk lets us, and end. What cannot be written goes into a file."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS + 5)
        if self._waiting:
            self._leave_letter(list(self._waiting))

    # -- in the thread -----------------------------------------------------------------------------------------

    def _run(self) -> None:
        pruned = 0.0
        deadline: float | None = None
        while True:
            self._wake.wait(BATCH_SECONDS)
            self._wake.clear()
            if self._closing and deadline is None:
                deadline = time.monotonic() + CLOSE_SECONDS
            while self._waiting:
                if not self._write_batch():
                    break
            with self._idle:
                self._idle.notify_all()
            if self._closing and (not self._waiting or (deadline is not None and time.monotonic() > deadline)):
                break
            if self._waiting:
                time.sleep(RETRY_SECONDS if not self._closing else 0.1)
            elif time.monotonic() - pruned > PRUNE_SECONDS:
                pruned = time.monotonic()
                self._prune()
        self._disconnect()

    def _write_batch(self) -> bool:
        """Write some events; False when it could not be done now."""
        events = [self._waiting[index] for index in range(min(BATCH, len(self._waiting)))]
        self._busy = 1
        try:
            insert(self._connected(), [self._complete(event) for event in events], int(time.time() * 1000))
        except (sqlite3.Error, OSError, DatabaseTooNew) as fault:
            self._failed(fault)
            return False
        finally:
            self._busy = 0
        for _ in events:
            self._waiting.popleft()
        self._written += len(events)
        if self._reason:
            self._log.info("usage is recorded again", path=str(self.path), waiting=len(self._waiting))
            self._reason = ""
        return True

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_database(self.path)
            self._take_letter(self._connection)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if self._closing:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                connection.close()
            except sqlite3.Error:
                return

    def _failed(self, fault: Exception) -> None:
        self._disconnect()
        if not self._reason:
            self._log.error("usage cannot be recorded, it waits in memory", path=str(self.path), reason=str(fault))
        self._reason = str(fault)

    def _prune(self) -> None:
        days = self._retention_days()
        if days <= 0:
            return
        try:
            prune_events(self._connected(), days, int(time.time() * 1000))
        except (sqlite3.Error, OSError, DatabaseTooNew) as fault:
            self._failed(fault)

    # -- what could not be written before the end --------------------------------------------------------------

    @property
    def _letter(self) -> Path:
        return self.path.with_name(f"{self.path.name}.unwritten.jsonl")

    def _leave_letter(self, events: Sequence[Event]) -> None:
        try:
            self._letter.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._letter.exists():
                self._letter.touch(mode=0o600)
            with self._letter.open("ab") as stream:
                stream.writelines(orjson.dumps(to_builtins(event)) + b"\n" for event in events)
            self._log.error("usage that could not be recorded is kept in a file", path=str(self._letter))
        except OSError as fault:
            self._log.error("usage is lost", events=len(events), reason=str(fault))

    def _take_letter(self, connection: sqlite3.Connection) -> None:
        from msgspec import ValidationError, convert

        if not self._letter.exists():
            return
        events = []
        for line in self._letter.read_bytes().splitlines():
            try:
                events.append(convert(orjson.loads(line), Event))
            except (orjson.JSONDecodeError, ValidationError):
                continue
        insert(connection, events, int(time.time() * 1000))
        self._letter.unlink()
