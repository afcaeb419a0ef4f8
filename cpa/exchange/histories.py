"""Keep request histories: written as text, packed and stored by a thread of its own, never by the event loop."""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Mapping
from threading import Condition, Event, Thread
from typing import Any

from msgspec import Struct

from cpa.config import Config
from cpa.errors import CpaError
from cpa.exchange.capture import Held
from cpa.exchange.history_rows import LONGEST_ERROR, Noted, history_rows, note_down
from cpa.exchange.live import LiveFeed
from cpa.exchange.recorder import Recorder
from cpa.logs import Secrets
from cpa.logs.masking import Masker
from cpa.usage.histories import Bounds, HistoryRow, insert_histories, prune_histories
from cpa.usage.store import StoreClosed, UsageStore

PATHS = ("/v1/", "/v1beta/", "/v1internal:", "/openai/", "/backend-api/", "/api/provider/")
"""Below which a POST is worth a history."""
MOST_WAITING = 256
"""Histories that may wait for a disk that fails."""
MOST_WAITING_FAILED = 64
"""Histories of failed requests that may wait beyond the others."""
MOST_IN_A_CROWD = 4096
"""Histories that may wait while the disk works, for the processor."""
MANY_WAITING = 128
"""So many are stored at once, without waiting for more."""
GROUP = 16
GROUP_BYTES = 64 * 1024
"""So many histories, of so many bytes together, are written at once."""
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
        self._waiting: deque[Recorder] = deque()
        self._waiting_bytes = 0
        self._rows: list[HistoryRow] = []
        """Made, but not stored yet."""
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
        if len(self._waiting) + len(self._rows) >= most or self._waiting_bytes > MOST_WAITING_BYTES or self._closing:
            self._drop(recorder)
            return
        self._waiting_bytes += recorder.held
        self._waiting.append(recorder)
        if self._thread is None:
            self._thread = Thread(target=self._work, name="cpa-histories", daemon=True)
            self._thread.start()
        if len(self._waiting) == MANY_WAITING:
            self._hurry.set()
        if len(self._waiting) == 1:
            self._wake.set()

    def _drop(self, recorder: Recorder) -> None:
        recorder.release()
        self._dropped += 1
        if self._dropped == 1 or self._dropped % 100 == 0:
            self._log.warning("request histories are dropped, too many wait", dropped=self._dropped)

    def status(self) -> HistoriesStatus:
        """How they fare right now."""
        return HistoriesStatus(len(self._waiting) + len(self._rows), self._written, self._dropped, self._reason)

    def count(self) -> tuple[int, int]:
        """How many wait, and how many were lost."""
        return len(self._waiting) + len(self._rows), self._dropped

    def flush(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Wait until every finished request is stored; False when it is not after ``timeout`` seconds. Blocks."""
        self._hurry.set()
        self._wake.set()
        with self._idle:
            return self._idle.wait_for(lambda: not (self._waiting or self._rows or self._busy), timeout)

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
            if not (self._rows or self._waiting):
                self._wake.wait()
            self._hurry.wait(min(BATCH_SECONDS * 2**failures, LONGEST_RETRY_SECONDS))
            self._hurry.clear()
            self._wake.clear()
            self._busy = True
            self._make_rows()
            failures = 0 if self._store_rows() else min(failures + 1, 8)
            self._busy = False
            with self._idle:
                self._idle.notify_all()
            if self._closing and (failures or not self._waiting):
                return

    def _make_rows(self) -> None:
        while self._waiting and len(self._rows) < MOST_WAITING:
            noted = self._next()
            try:
                self._rows += history_rows(noted, self._masker)
            except Exception:
                self._dropped += len(noted)
                self._log.exception(
                    "request histories cannot be written", request_id=[each.row.request_id for each in noted]
                )

    def _next(self) -> list[Noted]:
        """A few short ones, or one."""
        recorders: list[Recorder] = []
        room = GROUP_BYTES
        while self._waiting and (room > 0 or not recorders) and len(recorders) < GROUP:
            recorder = self._waiting.popleft()
            held = recorder.held
            self._waiting_bytes -= held
            room -= held
            recorders.append(recorder)
        return [noted for noted in map(self._note_down, recorders) if noted is not None]

    def _note_down(self, recorder: Recorder) -> Noted | None:
        """What it noted, as text; it is done with then."""
        try:
            return note_down(recorder)
        except Exception:
            self._dropped += 1
            self._log.exception("a request history cannot be written", request_id=recorder.request_id)
            return None
        finally:
            recorder.release()

    def _store_rows(self) -> bool:
        """Whether there is nothing left to store."""
        rows, errors = self._rows, self._config().error_logs_max_files
        if not rows:
            return True
        try:
            self._store.run(lambda connection: insert_histories(connection, rows, errors, int(time.time() * 1000)))
        except (sqlite3.Error, OSError) as fault:
            if not self._reason:
                self._log.error("request histories cannot be stored", reason=str(fault))
            self._reason = str(fault)
            return False
        except (CpaError, StoreClosed) as fault:
            self._reason = str(fault)
            self._dropped += len(rows)
        else:
            if self._reason:
                self._log.info("request histories are stored again", waiting=len(self._waiting))
            self._reason = ""
            self._written += len(rows)
        self._rows = []
        return True

    def _prune(self, connection: sqlite3.Connection, now_ms: int) -> bool:
        config = self._config()
        bounds = Bounds(config.request_history_retention_days, config.request_history_max_size_mb)
        return prune_histories(connection, bounds, now_ms)


def _refused(recorder: Recorder) -> dict[str, Any]:
    return {
        "request_id": recorder.request_id,
        "path": recorder.url.partition("?")[0],
        "status": recorder.status,
        "attempts": 0,
        "duration_ms": round((recorder.finished_at - recorder.begun) * 1000),
        "error": recorder.error.message[:LONGEST_ERROR] if recorder.error is not None else "",
    }
