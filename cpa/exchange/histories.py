"""Keep request histories: put together on the event loop where they are short; packed and stored by a thread."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from threading import Condition, Event, Lock, Thread
from typing import Any

from msgspec import Struct

from cpa.config import Config
from cpa.errors import CpaError
from cpa.exchange.capture import Held
from cpa.exchange.history_draft import Group, Noted, batch_of, grouped
from cpa.exchange.history_note import LONGEST_ERROR, note_down
from cpa.exchange.live import LiveFeed
from cpa.exchange.recorder import Recorder
from cpa.logs import Secrets
from cpa.logs.masking import Masker
from cpa.usage.history_batches import Batch, Bounds, insert_batches, prune_histories
from cpa.usage.store import StoreClosed, UsageStore

PATHS = ("/v1/", "/v1beta/", "/v1internal:", "/openai/", "/backend-api/", "/api/provider/")
"""Below which a POST is worth a history."""
MOST_WAITING = 256
"""Histories that may wait for a disk that fails."""
MOST_WAITING_FAILED = 64
"""Histories of failed requests that may wait beyond the others."""
MOST_IN_A_CROWD = 4096
"""Histories that may wait while the disk works, for the processor."""
MANY_WAITING = 1024
MANY_BYTES = 8 * 1024 * 1024
"""So many, or so many bytes of them, are stored without waiting for more."""
GROUP = 32
GROUP_BYTES = 512 * 1024
"""So many histories, or of so many bytes, are put together on the event loop."""
LONG_BYTES = 512 * 1024
"""One of more is left to the thread."""
BATCH_BYTES = 1024 * 1024
"""A batch of so many bytes takes no more histories."""
MOST_WAITING_BYTES = 128 * 1024 * 1024
BATCH_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 15.0
CLOSE_SECONDS = 10.0


class HistoriesStatus(Struct):
    """How histories fare."""

    waiting: int
    written: int
    dropped: int
    """Histories lost since the start: too many were waiting."""
    reason: str
    """Why they cannot be stored; empty when they can."""


class Histories:
    """Opens a recorder for a request, and stores what it has noted. One per daemon."""

    def __init__(self, store: UsageStore, secrets: Secrets, config: Callable[[], Config], log: Any) -> None:
        self._store = store
        self._config = config
        self._log = log
        self._masker = Masker(secrets)
        self._held = Held()
        self._off = config().commercial_mode
        self._lock = Lock()
        """Held while what waits is changed."""
        self._short: list[Recorder] = []
        """Soon a group."""
        self._short_bytes = 0
        self._passed: deque[Group | Recorder] = deque()
        """The other histories that wait: groups, long ones and those of failed requests."""
        self._batches: list[Batch] = []
        """Made, but not stored yet."""
        self._waiting = self._waiting_bytes = 0
        """Histories that are not stored yet; bytes of those that are in no batch yet."""
        self._wake = Event()
        self._idle = Condition()
        self._hurry = Event()
        """Somebody waits for it."""
        self._busy = self._closing = False
        self._written = self._dropped = 0
        self._reason = ""
        self._thread: Thread | None = None
        self.live: LiveFeed | None = None
        """Told of requests that were refused before they became an exchange."""
        store.upkeep.append(self._prune)

    def begin(
        self, config: Config, request_id: str, method: str, path: str, url: str, headers: Mapping[str, str]
    ) -> Recorder | None:
        """What notes a request that begins; None when no history is wanted of it."""
        whole = config.request_log
        if not (whole or config.request_log_errors) or method != "POST" or self._off or not path.startswith(PATHS):
            return None
        return Recorder(self._held, whole=whole, request_id=request_id, method=method, url=url, headers=headers)

    def end(self, recorder: Recorder) -> None:
        """The request is over. Never blocks."""
        if recorder.call is None and self.live is not None and self.live.watchers:
            self.live.tell("finished", _refused(recorder))
        if not recorder.whole and not recorder.failed:
            recorder.release()
            return
        most = MOST_WAITING if self._reason else MOST_IN_A_CROWD
        most += MOST_WAITING_FAILED if recorder.failed else 0
        if self._waiting >= most or self._waiting_bytes > MOST_WAITING_BYTES or self._closing:
            self._drop(recorder)
            return
        held = recorder.held
        if held > LONG_BYTES:
            recorder.lighten()
        with self._lock:
            self._waiting += 1
            self._waiting_bytes += held
            if held > LONG_BYTES or not recorder.whole:
                self._passed.append(recorder)
            else:
                self._short.append(recorder)
                self._short_bytes += held
                if len(self._short) == GROUP or self._short_bytes > GROUP_BYTES:
                    self._make_group()
        if self._thread is None:
            self._thread = Thread(target=self._work, name="cpa-histories", daemon=True)
            self._thread.start()
        if self._waiting == 1:
            self._wake.set()
        elif self._waiting == MANY_WAITING or self._waiting_bytes > MANY_BYTES:
            self._hurry.set()

    def _make_group(self) -> None:
        """Of the short histories that wait. A few at a time, soon after they passed, they are noted in half the time
        that it takes one by one, or later in another thread: processors find little of them by then.
        """
        recorders, self._short, self._short_bytes = self._short, [], 0
        if (group := self._group(recorders)) is not None:
            self._passed.append(group)
        self._waiting -= len(recorders) - _count([group])

    def _group(self, recorders: list[Recorder]) -> Group | None:
        """None when none of them could be noted."""
        noted: list[Noted] = []
        for recorder in recorders:
            try:
                noted.append(note_down(recorder))
            except Exception:
                self._dropped += 1
                self._log.exception("a request history cannot be written", request_id=recorder.request_id)
            finally:
                recorder.release()
        try:
            return grouped(noted) if noted else None
        except Exception:
            self._dropped += len(noted)
            self._log.exception("request histories cannot be written", request_id=[each.request_id for each in noted])
            return None

    def _drop(self, recorder: Recorder) -> None:
        recorder.release()
        self._dropped += 1
        if self._dropped == 1 or self._dropped % 100 == 0:
            self._log.warning("request histories are dropped, too many wait", dropped=self._dropped)

    def status(self) -> HistoriesStatus:
        """How they fare right now."""
        return HistoriesStatus(self._waiting, self._written, self._dropped, self._reason)

    def count(self) -> tuple[int, int]:
        """How many wait, and how many were lost."""
        return self._waiting, self._dropped

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait until every finished request is stored; False when it is not after ``timeout`` seconds. Blocks."""
        self._hurry.set()
        self._wake.set()
        with self._idle:
            return self._idle.wait_for(lambda: not (self._waiting or self._busy), timeout)

    def close(self) -> None:
        """Store what is waiting, and end. Blocks."""
        self._closing = True
        self._hurry.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    # -- in the thread -----------------------------------------------------------------------------------------

    def _work(self) -> None:
        failures = 0
        while True:
            if not self._waiting:
                self._wake.wait()
            self._hurry.wait(min(BATCH_SECONDS * 2**failures, LONGEST_RETRY_SECONDS))
            self._hurry.clear()
            self._wake.clear()
            self._busy = True
            self._make_batches()
            failures = 0 if self._store_batches() else min(failures + 1, 8)
            self._busy = False
            with self._idle:
                self._idle.notify_all()
            if self._closing and (failures or not self._waiting):
                return

    def _make_batches(self) -> None:
        """Of all that waits now; what is done with takes no memory any more."""
        with self._lock:
            self._make_group()
            passed, self._passed = self._passed, deque()
            held = self._waiting_bytes - sum(each.held for each in passed if isinstance(each, Recorder))
            left = self._waiting - _count(self._batches)
        groups: list[Group] = []
        while passed:
            group = self._group_of(passed.popleft())
            if group is None:
                continue
            if groups and (group.forced or groups[0].forced or sum(each.size for each in groups) >= BATCH_BYTES):
                left -= self._make_batch(groups)
                groups = []
            groups.append(group)
        left -= self._make_batch(groups)
        with self._lock:
            self._waiting -= left
            self._waiting_bytes -= held

    def _group_of(self, passed: Group | Recorder) -> Group | None:
        """None when it could not be noted."""
        if isinstance(passed, Group):
            return passed
        held = passed.held
        group = self._group([passed])
        with self._lock:
            self._waiting_bytes -= held
        return group

    def _make_batch(self, groups: list[Group]) -> int:
        """How many histories are in it."""
        if not groups:
            return 0
        try:
            batch = batch_of(groups, self._masker)
        except Exception:
            lost = [request for group in groups for request, _ in group.requests]
            self._dropped += len(lost)
            self._log.exception("request histories cannot be written", request_id=lost)
            return 0
        self._batches.append(batch)
        return len(batch.requests)

    def _store_batches(self) -> bool:
        """Whether there is nothing left to store."""
        batches, errors = self._batches, self._config().error_logs_max_files
        if not batches:
            return True
        count = _count(batches)
        try:
            self._store.run(lambda connection: insert_batches(connection, batches, errors, int(time.time() * 1000)))
        except (sqlite3.Error, OSError) as fault:
            if not self._reason:
                self._log.error("request histories cannot be stored", reason=str(fault))
            self._reason = str(fault)
            return False
        except (CpaError, StoreClosed) as fault:
            self._reason = str(fault)
            self._dropped += count
        else:
            if self._reason:
                self._log.info("request histories are stored again", waiting=self._waiting - count)
            self._reason = ""
            self._written += count
        self._batches = []
        with self._lock:
            self._waiting -= count
        return True

    def _prune(self, connection: sqlite3.Connection, now_ms: int) -> bool:
        config = self._config()
        bounds = Bounds(config.request_history_retention_days, config.request_history_max_size_mb)
        return prune_histories(connection, bounds, now_ms)


def _count(those: Iterable[Group | Batch | None]) -> int:
    """How many histories are in groups or batches."""
    return sum(len(each.requests) for each in those if each is not None)


def _refused(recorder: Recorder) -> dict[str, Any]:
    return {
        "request_id": recorder.request_id,
        "path": recorder.url.partition("?")[0],
        "status": recorder.status,
        "attempts": 0,
        "duration_ms": round((recorder.finished_at - recorder.begun) * 1000),
        "error": recorder.error.message[:LONGEST_ERROR] if recorder.error is not None else "",
    }
