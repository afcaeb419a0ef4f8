"""Keep request histories: written as text, packed and stored by a thread of its own, never by the event loop."""

from __future__ import annotations

import sqlite3
import time
import zlib
from collections import deque
from collections.abc import Callable, Mapping
from threading import Condition, Event, Thread
from typing import Any

import orjson
from msgspec import Struct

from cpa.config import Config
from cpa.errors import CpaError
from cpa.exchange.live import LiveFeed
from cpa.exchange.recorder import AttemptNote, Capture, Held, Recorder
from cpa.logs import Secrets
from cpa.logs.history import Clipped, History, HistoryAttempt, Written, log_name, write
from cpa.logs.masking import Masker, mask_query
from cpa.usage.event import tokens_of
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
MOST_WAITING_BYTES = 128 * 1024 * 1024
BATCH_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 15.0
CLOSE_SECONDS = 10.0
COMPRESSION = 1
MEMORY_LEVEL = 6
"""Of zlib."""
LONGEST_ERROR = 500


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
            recorder = self._waiting.popleft()
            self._waiting_bytes -= recorder.held
            try:
                self._rows.append(self._row(recorder))
            except Exception:
                self._log.exception("a request history cannot be written", request_id=recorder.request_id)
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

    def _row(self, recorder: Recorder) -> HistoryRow:
        forced = not recorder.whole
        history = history_of(recorder)
        written = write(history, self._masker)
        url, detail = mask_query(recorder.url), _detail(history, written)
        if not written.clean:
            url, detail = self._masker.text(url), self._masker.body(detail)
        return HistoryRow(
            request_id=recorder.request_id,
            log_name=log_name(url.partition("?")[0], recorder.begun, recorder.request_id, forced=forced),
            url=url,
            method=recorder.method,
            status=history.status,
            forced=forced,
            begun_ms=int(recorder.begun * 1000),
            answered_ms=_answered_ms(recorder),
            text=_pack(written.text),
            detail=detail,
        )

    def _prune(self, connection: sqlite3.Connection, now_ms: int) -> bool:
        config = self._config()
        bounds = Bounds(config.request_history_retention_days, config.request_history_max_size_mb)
        return prune_histories(connection, bounds, now_ms)


def _pack(text: bytes) -> bytes:
    """Gzipped, with small tables: they stay in the processor's cache."""
    packer = zlib.compressobj(COMPRESSION, zlib.DEFLATED, 31, MEMORY_LEVEL)
    return packer.compress(text) + packer.flush()


def _refused(recorder: Recorder) -> dict[str, Any]:
    return {
        "request_id": recorder.request_id,
        "path": recorder.url.partition("?")[0],
        "status": recorder.status,
        "attempts": 0,
        "duration_ms": round((recorder.finished_at - recorder.begun) * 1000),
        "error": recorder.error.message[:LONGEST_ERROR] if recorder.error is not None else "",
    }


def history_of(recorder: Recorder) -> History:
    """What a finished recorder has noted."""
    sent = recorder.sent
    status = recorder.status
    return History(
        request_id=recorder.request_id,
        method=recorder.method,
        url=recorder.url,
        headers=recorder.headers.items(),
        body=_client_body(recorder),
        edited=None if recorder.edited is None else orjson.dumps(recorder.edited),
        attempts=[_attempt(note, number) for number, note in enumerate(recorder.attempts, 1)],
        omitted_attempts=recorder.omitted_attempts,
        status=status,
        response_headers=recorder.response.headers.items() if recorder.response is not None else (),
        sent=sent.clipped() if isinstance(sent, Capture) else sent,
        begun=recorder.begun,
        answered_at=recorder.answered_at,
        finished_at=recorder.finished_at,
        facts=_facts(recorder),
    )


def _client_body(recorder: Recorder) -> Clipped | None:
    """As received; a form, which is not kept as it came, as the JSON that was made of it."""
    if recorder.body is None and recorder.call is not None:
        return Clipped(orjson.dumps(recorder.call.body))
    return recorder.body


def _attempt(note: AttemptNote, number: int) -> HistoryAttempt:
    account, error = note.account, note.error
    return HistoryAttempt(
        number=note.number or number,
        provider=account.provider,
        account_id=account.id,
        account=account.label or account.id,
        kind=account.kind,
        secret=account.secret,
        model=note.model,
        method=note.method,
        url=note.url,
        headers=note.headers.items(),
        body=note.body,
        started_at=note.started_at,
        answered_at=note.answered_at,
        finished_at=note.finished_at,
        first_token=note.first_token,
        status=note.status,
        response_headers=note.response_headers.items(),
        received=note.received.clipped() if note.received is not None else None,
        outcome=note.outcome,
        error="" if error is None else error.message,
    )


def _facts(recorder: Recorder) -> dict[str, Any]:
    call, last = recorder.call, recorder.attempts[-1] if recorder.attempts else None
    facts: dict[str, Any] = {
        "duration_ms": round((recorder.finished_at - recorder.begun) * 1000),
        "attempt_count": len(recorder.attempts) + recorder.omitted_attempts,
    }
    if call is not None:
        facts |= {"model": call.model, "format": call.format, "operation": call.operation, "stream": call.stream}
        if call.client is not None:
            facts["client"] = call.client.id
    if (error := recorder.error or (last.error if last is not None else None)) is not None:
        facts["error"] = error.message[:LONGEST_ERROR]
    if last is not None:
        facts |= {
            "provider": last.account.provider,
            "account": last.account.label or last.account.id,
            "upstream_model": last.model,
            "upstream_format": last.upstream_format,
            "outcome": last.outcome,
        }
        if last.first_token is not None:
            facts["ttft_ms"] = round((last.started_at - recorder.begun + last.first_token) * 1000)
        if last.usage is not None:
            tokens = tokens_of(last.usage, last.upstream_format)
            facts |= {"input_tokens": tokens.input, "output_tokens": tokens.output, "total_tokens": tokens.total}
    return facts


def _detail(history: History, written: Written) -> bytes:
    return orjson.dumps(
        {
            "facts": history.facts,
            "attempts": [
                {
                    "number": attempt.number,
                    "provider": attempt.provider,
                    "account": attempt.account,
                    "model": attempt.model,
                    "url": mask_query(attempt.url),
                    "started_ms": round(attempt.started_at * 1000),
                    "answered_ms": None if attempt.answered_at is None else round(attempt.answered_at * 1000),
                    "finished_ms": round(attempt.finished_at * 1000),
                    "ttft_ms": None if attempt.first_token is None else round(attempt.first_token * 1000),
                    "status": attempt.status,
                    "outcome": attempt.outcome,
                    "error": attempt.error,
                }
                for attempt in history.attempts
            ],
            "sections": written.sections,
        }
    )


def _answered_ms(recorder: Recorder) -> int | None:
    moments = [note.answered_at for note in recorder.attempts if note.answered_at is not None]
    return int(moments[-1] * 1000) if moments else None
