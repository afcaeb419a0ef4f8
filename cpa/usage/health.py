"""Whether usage can be written, since when not, and saying so without filling the log."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

WARN_SECONDS = 60.0
"""The shortest time between two warnings that usage is not recorded."""


class Health:
    """Belongs to the thread that writes; the numbers may be read from anywhere."""

    def __init__(self, path: Path, log: Any) -> None:
        self.reason = ""
        """Why nothing can be written; empty while all is well."""
        self.failing_since: float | None = None
        """Unix seconds."""
        self.failures = 0
        """Writes that failed since the start."""
        self.failed_in_turn = 0
        self.dropped = 0
        """Events lost since the start."""
        self._path = path
        self._log = log
        self._warned_at = float("-inf")
        self._warned_of = 0
        self._unsettled = False
        """Whether a warning was said and not taken back yet."""

    def failed(self, fault: BaseException, waiting: int) -> None:
        """A write failed."""
        self.failures += 1
        self.failed_in_turn += 1
        self.reason = str(fault) or type(fault).__name__
        self.failing_since = self.failing_since or time.time()
        self.warn(waiting)

    def well(self, waiting: int) -> None:
        """A write succeeded."""
        self.failed_in_turn = 0
        self.reason, self.failing_since = "", None
        if self._unsettled:
            self._unsettled = False
            self._log.info("usage is recorded again", path=str(self._path), waiting=waiting)

    def warn(self, waiting: int) -> None:
        """Say, at most once a minute, that usage is not recorded and what that has cost."""
        now, lost = time.monotonic(), self.dropped - self._warned_of
        if (not self.reason and not lost) or now - self._warned_at < WARN_SECONDS:
            return
        self._warned_at, self._warned_of, self._unsettled = now, self.dropped, True
        self._log.warning(
            "usage cannot be recorded, it waits in memory",
            path=str(self._path),
            reason=self.reason or "too much is waiting",
            waiting=waiting,
            dropped=lost,
        )
