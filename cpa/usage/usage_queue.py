"""Finished attempts for collectors outside: popped in batches or listened to, kept for a short while in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

MOST_ITEMS = 100_000
MOST_BYTES = 64 * 1024 * 1024
LISTENER_ITEMS = 256


class Subscription:
    """One listener. Its queue gives payloads, and None when it could not keep up."""

    def __init__(self) -> None:
        self.payloads: asyncio.Queue[bytes | None] = asyncio.Queue(LISTENER_ITEMS + 1)
        self.overflowed = False

    def offer(self, payload: bytes) -> bool:
        """Give a payload; False when the listener is too slow and will hear no more."""
        if self.payloads.qsize() >= LISTENER_ITEMS:
            self.overflowed = True
            self.payloads.put_nowait(None)
            return False
        self.payloads.put_nowait(payload)
        return True


class UsageQueue:
    """Belongs to the event loop. ``clock`` gives monotonic seconds.

    While somebody listens and nobody has popped within the last retention period, items go to listeners only.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._items: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._popped_at = float("-inf")
        self._listeners: set[Subscription] = set()
        self.retention = 60.0
        """Seconds an item is kept."""
        self.enabled = False
        self.dropped = 0
        """Items that were pushed out by newer ones before their time."""

    def __len__(self) -> int:
        self._expire()
        return len(self._items)

    @property
    def wanted(self) -> bool:
        """Whether there is any use in making an item."""
        return self.enabled

    def configure(self, *, enabled: bool, retention: float) -> None:
        """Follow the configuration; disabling forgets everything."""
        self.enabled, self.retention = enabled, retention
        if not enabled:
            self._items.clear()
            self._bytes = 0

    def put(self, item: bytes) -> None:
        """Add a JSON object."""
        if not self.enabled:
            return
        for listener in list(self._listeners):
            if not listener.offer(item):
                self._listeners.discard(listener)
        now = self._clock()
        if self._listeners and now - self._popped_at > self.retention:
            return
        self._expire()
        self._items.append((now, item))
        self._bytes += len(item)
        while len(self._items) > MOST_ITEMS or self._bytes > MOST_BYTES:
            self._bytes -= len(self._items.popleft()[1])
            self.dropped += 1

    def pop(self, count: int) -> list[bytes]:
        """Up to ``count`` items, the oldest first."""
        self._popped_at = self._clock()
        self._expire()
        found = [self._items.popleft()[1] for _ in range(min(count, len(self._items)))]
        self._bytes -= sum(map(len, found))
        return found

    def listen(self) -> Subscription:
        """Hear of every item from now on, until :meth:`leave`."""
        listener = Subscription()
        self._listeners.add(listener)
        return listener

    def leave(self, listener: Subscription) -> None:
        """Hear no more."""
        self._listeners.discard(listener)

    def _expire(self) -> None:
        oldest = self._clock() - self.retention
        while self._items and self._items[0][0] < oldest:
            self._bytes -= len(self._items.popleft()[1])
