"""The durable usage record: what goes in never waits, one thread writes, anybody may read."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition, Thread
from threading import Event as Flag
from typing import Any, TypeVar

from msgspec import Struct

from cpa.errors import CpaError
from cpa.usage import unwritten
from cpa.usage.compaction import compact_sums
from cpa.usage.event import Costing, Kind
from cpa.usage.health import Health
from cpa.usage.insert import IMPOSSIBLE, Made
from cpa.usage.prices import PriceTable
from cpa.usage.quarantine import is_damage, is_disk_fault, put_aside
from cpa.usage.retention import prune_events
from cpa.usage.schema import VERSION, DatabaseTooNew, open_database, open_for_reading, transaction
from cpa.usage.statements import MOST_ROWS
from cpa.usage.writing import EventWriter

BATCH = 2048
BATCH_SECONDS = 0.4
RETRY_SECONDS = 0.25
"""Wait after the first failure; doubled after each further one."""
LONGEST_RETRY_SECONDS = 5.0
MOST_WAITING = 100_000
"""Events that wait for a disk that fails; more are dropped and counted."""
UPKEEP_SECONDS = 600.0
CLOSE_SECONDS = 10.0
QUARANTINE_SECONDS = 60.0
"""The shortest time between two databases that are put aside: a disk that damages all of them gets no more."""

Upkeep = Callable[[sqlite3.Connection, int], bool]
"""Deletes a little of what is too old, in the transaction that is open, given the Unix milliseconds of now; says
whether there is more to do."""
T = TypeVar("T")
_Job = tuple[Callable[[sqlite3.Connection], Any], "Future[Any]"]


class StoreClosed(CpaError):
    """The daemon is ending; nothing more can be written."""


class NotReady(CpaError):
    """The database cannot be read yet: it is being brought up to date, or is of a newer program."""


class StoreStatus(Struct):
    """How the record fares."""

    path: str
    healthy: bool
    reason: str
    """Why it is not healthy; empty otherwise."""
    failing_since: float | None
    """Unix seconds since when nothing can be written."""
    waiting: int
    written: int
    failures: int
    """Writes that failed since the start; what they were to write waits and is tried again."""
    dropped: int
    """Events lost since the start because too many were waiting."""
    rejected: int
    """Events that no database takes, because a number in them is impossible."""
    put_aside: list[str]
    """Names that damaged databases were given since the start."""


class UsageStore:
    """Owns the one connection that writes.

    A disk that fails keeps events waiting in memory; writing goes on by itself once the disk works again. Other
    tables of the same file are written through :meth:`run`, read through :meth:`ask`, and kept small by what is put
    into :attr:`upkeep`.
    """

    def __init__(
        self, path: Path, log: Any, retention_days: Callable[[], int], prices: Callable[[], PriceTable] = PriceTable
    ) -> None:
        """``prices`` gives those in force, by which what is recorded gets its cost; called in the thread."""
        self.path = path
        self.upkeep: list[Upkeep] = [self._prune, compact_sums]
        """Called in the thread every ten minutes, each in a transaction of its own."""
        self._log = log
        self._retention_days = retention_days
        self._prices = prices
        self._waiting: list[Made] = []
        self._jobs: deque[_Job] = deque()
        self._asleep = self._busy = self._hurry = self._closing = self._closed = False
        self._wake = Flag()
        self._idle = Condition()
        self._health = Health(path, log)
        self._written = self._rejected = 0
        self._suspicion: sqlite3.DatabaseError | None = None
        """What somebody who read was told of damage."""
        self._put_aside_at = float("-inf")
        self._put_aside: list[str] = []
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._writer = EventWriter()
        self._singly = 0
        """Events to be written one by one, because one of them is impossible."""
        self._upkeep_at = time.monotonic()
        self._thread: Thread | None = None

    # -- for everybody -----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Bring a database that is there up to date in the background; without one nothing happens."""
        if self.path.exists() or unwritten.unwritten_file(self.path).exists():
            self._begin()

    def record(self, made: Made) -> None:
        """Take an attempt, or an event. Never blocks, never raises."""
        if len(self._waiting) >= MOST_WAITING or self._closed:
            self._health.dropped += 1
            return
        self._waiting.append(made)
        if self._asleep:
            self._wake.set()
        elif self._thread is None:
            self._begin()

    def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Let the writer do ``work`` in a transaction of its own, and give what it gives.

        Blocks: call it in a thread. Raises what ``work`` raises, sqlite3.Error and OSError when the disk fails (it is
        tried once, nothing waits), DatabaseTooNew, and StoreClosed.
        """
        done: Future[T] = Future()
        self._jobs.append((work, done))
        self._begin()
        self._wake.set()
        if self._closing:
            self._refuse_jobs()
        return done.result()

    def ask(self, query: Callable[[sqlite3.Connection], T], empty: T) -> T:
        """Answer a query with everything in it that was recorded before; ``empty`` when nothing ever was.

        Blocks: call it in a thread. Raises NotReady and sqlite3.Error.
        """
        with self.reading() as connection:
            return empty if connection is None else query(connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """A connection that sees everything that was recorded before, and nothing later; None when nothing ever was.

        Blocks. Raises NotReady and sqlite3.Error.
        """
        if not self._health.reason:
            self.flush(2.0)
        if not self.path.exists():
            yield None
            return
        connection = open_for_reading(self.path)
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version != VERSION:
                self._begin()
                raise NotReady(self._health.reason or "the usage database is being brought up to date, ask again soon")
            connection.execute("BEGIN")
            yield connection
        except sqlite3.DatabaseError as fault:
            if is_damage(fault, self.path):
                self._suspicion = fault
                self._wake.set()
            raise
        finally:
            connection.close()

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait until everything recorded so far is in the file; False when it is not after ``timeout`` seconds."""
        self._hurry = True
        self._wake.set()
        with self._idle:
            return self._idle.wait_for(lambda: not (self._waiting or self._jobs or self._busy), timeout)

    def status(self) -> StoreStatus:
        """How it fares right now."""
        health = self._health
        return StoreStatus(
            path=str(self.path),
            healthy=not health.reason,
            reason=health.reason,
            failing_since=health.failing_since,
            waiting=len(self._waiting),
            written=self._written,
            failures=health.failures,
            dropped=health.dropped,
            rejected=self._rejected,
            put_aside=list(self._put_aside),
        )

    def close(self) -> None:
        """Write what is waiting, as far as the disk lets us, and end. What cannot be written goes into a file."""
        self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS + 5)
        self._closed = True
        self._refuse_jobs()
        if self._waiting:
            events = self._writer.named(self._waiting)
            for event in events:
                with suppress(Exception):
                    event.price(self._priced)
            unwritten.leave(self.path, events, self._log)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._work, name="cpa-usage", daemon=True)
            self._jobs.appendleft((_nothing, Future()))
            self._thread.start()

    def _refuse_jobs(self) -> None:
        while self._jobs:
            self._jobs.popleft()[1].set_exception(StoreClosed("the daemon is ending"))

    # -- in the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        close_at: float | None = None
        while True:
            try:
                self._write()
            except Exception as fault:
                self._log.exception("usage cannot be recorded")
                self._failed(fault)
            with self._idle:
                self._idle.notify_all()
            if self._closing:
                close_at = close_at or time.monotonic() + CLOSE_SECONDS
                if not self._waiting or time.monotonic() > close_at:
                    break
            if self._health.reason:
                self._health.warn(len(self._waiting))
                self._rest()
            else:
                self._health.warn(0)
                self._sleep()
        self._refuse_jobs()
        self._disconnect()

    def _write(self) -> None:
        """Everything there is to do now."""
        hurry, self._hurry = self._hurry, False
        if self._health.reason and not self._waiting:
            self._jobs.append((_nothing, Future()))
        if self._suspicion is not None:
            self._examine(self._suspicion)
            self._suspicion = None
        self._do_jobs()
        while self._waiting and self._write_batch(everything=hurry or self._closing):
            self._do_jobs()
            hurry |= self._hurry
            if not (len(self._waiting) >= BATCH or self._singly or hurry or self._closing):
                break
        if not self._health.reason and time.monotonic() >= self._upkeep_at and not self._closing:
            self._upkeep_at = time.monotonic() + (0.05 if self._do_upkeep() else UPKEEP_SECONDS)

    def _sleep(self) -> None:
        """Until there is something to do; then a little longer, to write more than one event at once."""
        self._wake.clear()
        self._asleep = True
        if not (self._waiting or self._jobs or self._closing or self._suspicion):
            self._wake.wait(max(self._upkeep_at - time.monotonic(), 0.01))
        self._asleep = False
        self._wake.clear()
        if self._waiting and not (self._jobs or self._hurry or self._closing):
            self._wake.wait(BATCH_SECONDS)

    def _rest(self) -> None:
        """Between two tries on a disk that fails; a job is tried at once."""
        doubled = RETRY_SECONDS * 2 ** min(max(self._health.failed_in_turn - 1, 0), 10)
        self._wake.clear()
        if not self._jobs:
            self._wake.wait(0.1 if self._closing else min(doubled, LONGEST_RETRY_SECONDS))

    def _do_jobs(self) -> None:
        while self._jobs:
            self._busy = True
            work, done = self._jobs.popleft()
            try:
                connection = self._connected()
                with transaction(connection):
                    result = work(connection)
            except BaseException as fault:
                if is_disk_fault(fault) or isinstance(fault, DatabaseTooNew):
                    self._failed(fault)
                done.set_exception(fault)
            else:
                self._health.well(len(self._waiting))
                done.set_result(result)
            self._busy = False

    def _write_batch(self, *, everything: bool) -> bool:
        """Write some events; False when it could not be done now.

        Unless ``everything`` is to be written, of many so many are as fill whole statements: the rest comes next time.
        """
        waiting = min(len(self._waiting), BATCH)
        if waiting > MOST_ROWS and not everything:
            waiting -= waiting % MOST_ROWS
        made = self._waiting[: 1 if self._singly else waiting]
        try:
            written = self._written_of(self._connected(), made)
        except (OSError, DatabaseTooNew, sqlite3.Error) as fault:
            self._failed(fault)
            return False
        self._singly = max(0, self._singly - written)
        del self._waiting[:written]
        self._health.well(len(self._waiting))
        return True

    def _written_of(self, connection: sqlite3.Connection, made: list[Made]) -> int:
        """How many of the events are done with. Raises when the disk fails."""
        try:
            written = self._writer.write(connection, made, _now_ms(), self._priced)
        except Exception as fault:
            if _is_of_disk(fault):
                raise
            if len(made) > 1:
                self._singly = len(made)
                return 0
            return self._unpriced(connection, made, fault)
        self._written += written
        return written

    def _unpriced(self, connection: sqlite3.Connection, made: list[Made], fault: Exception) -> int:
        """Write an event without its cost; not at all when that was not what is wrong with it."""
        try:
            self._written += self._writer.write(connection, made, _now_ms())
        except Exception as still:
            if _is_of_disk(still):
                raise
            self._log.error("usage with impossible numbers is not recorded", reason=str(still))
            self._rejected += 1
        else:
            model = made[0].kind.place.model
            self._log.error("an attempt is recorded without its cost", model=model, exc_info=fault)
        return 1

    def _priced(self, kind: Kind, of_tool: bool) -> Costing | None:
        return self._prices().costing(kind, of_tool)

    def _connected(self) -> sqlite3.Connection:
        """The connection, to the file that is there now: one that was deleted or replaced is written to no more."""
        if self._connection is not None and _inode(self.path) != self._inode:
            self._log.warning("the usage database was taken away, another one is begun", path=str(self.path))
            self._disconnect()
        if self._connection is None:
            self._connection = self._open()
            self._inode = _inode(self.path)
            self._writer.connected()
            unwritten.take_in(self.path, self._connection, self._log)
        return self._connection

    def _open(self) -> sqlite3.Connection:
        try:
            return open_database(self.path)
        except sqlite3.DatabaseError as fault:
            if not self._quarantine(fault):
                raise
        return open_database(self.path)

    def _examine(self, suspicion: sqlite3.DatabaseError) -> None:
        """Look whether the database is damaged as a reader said."""
        try:
            if self._connected().execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                self._failed(suspicion)
        except (sqlite3.Error, OSError, DatabaseTooNew) as fault:
            self._failed(fault)

    def _quarantine(self, fault: BaseException) -> bool:
        """Put a damaged database aside; False when that is not what is wrong, or it was done a moment ago."""
        now = time.monotonic()
        if not is_damage(fault, self.path) or now - self._put_aside_at < QUARANTINE_SECONDS:
            return False
        self._disconnect()
        target = put_aside(self.path)
        self._put_aside_at = now
        self._put_aside.append(str(target))
        self._log.error(
            "the usage database is damaged: it was put aside and a new one is begun",
            path=str(self.path),
            put_aside=str(target),
            reason=str(fault),
            advice=f'what can be saved of it: sqlite3 "{target}" .recover | sqlite3 recovered.sqlite',
        )
        return True

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                if self._closing:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            with suppress(sqlite3.Error):
                connection.close()

    def _failed(self, fault: BaseException) -> None:
        self._disconnect()
        try:
            if self._quarantine(fault):
                return
        except OSError as another:
            fault = another
        self._health.failed(fault, len(self._waiting))

    def _do_upkeep(self) -> bool:
        """Let everything tidy up a little; whether there is more to do."""
        more = False
        for tidy in self.upkeep:
            try:
                connection = self._connected()
                self._writer.changed()
                with transaction(connection):
                    more |= tidy(connection, _now_ms())
            except (sqlite3.Error, OSError, DatabaseTooNew) as fault:
                self._failed(fault)
                return False
        return more

    def _prune(self, connection: sqlite3.Connection, now_ms: int) -> bool:
        days = self._retention_days()
        return days > 0 and prune_events(connection, days, now_ms)


def _nothing(connection: sqlite3.Connection) -> None:
    """The job that finds out whether the database can be opened and written."""


def _now_ms() -> int:
    return int(time.time() * 1000)


def _is_of_disk(fault: Exception) -> bool:
    return isinstance(fault, OSError | DatabaseTooNew | sqlite3.Error) and not isinstance(fault, IMPOSSIBLE)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
