"""How an account fared lately: twenty buckets of ten minutes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, field

BUCKETS = 20
BUCKET_SECONDS = 600


class _Bucket(Struct):
    number: int
    succeeded: int = 0
    failed: int = 0


class RecentRequests(Struct):
    """Counts outcomes by the time they happened (Unix seconds). Old buckets are overwritten: the size is bounded."""

    _buckets: dict[int, _Bucket] = field(default_factory=dict)

    def note(self, success: bool, now: float) -> None:
        """One attempt ended."""
        self.add(now, int(success), int(not success))

    def add(self, at: float, succeeded: int, failed: int) -> None:
        """Attempts ended then; what is older than the oldest bucket counts no more."""
        number = int(at) // BUCKET_SECONDS
        place = number % BUCKETS
        bucket = self._buckets.get(place)
        if bucket is None or bucket.number < number:
            bucket = self._buckets[place] = _Bucket(number)
        if bucket.number == number:
            bucket.succeeded += succeeded
            bucket.failed += failed

    def shown(self, now: float) -> list[dict[str, Any]]:
        """All buckets, oldest first: ``{"time": "13:20-13:30", "success": 0, "failed": 0}``, local time."""
        last = int(now) // BUCKET_SECONDS
        return [self._shown(number) for number in range(last - BUCKETS + 1, last + 1)]

    def _shown(self, number: int) -> dict[str, Any]:
        begin = datetime.fromtimestamp(number * BUCKET_SECONDS)
        end = begin + timedelta(seconds=BUCKET_SECONDS)
        bucket = self._buckets.get(number % BUCKETS)
        counted = bucket is not None and bucket.number == number
        return {
            "time": f"{begin:%H:%M}-{end:%H:%M}",
            "success": bucket.succeeded if counted and bucket is not None else 0,
            "failed": bucket.failed if counted and bucket is not None else 0,
        }
