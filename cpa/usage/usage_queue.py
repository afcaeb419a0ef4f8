"""Finished attempts for collectors outside: popped in batches or listened to, kept for a short while in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from cpa.usage.queue_item import QueueItem

MOST_ITEMS = 100_000
MOST_BYTES = 64 * 1024 * 1024
LISTENER_ITEMS = 256
USUAL_SIZE = 1500
"""Bytes of an item without the text of its failure and headers; a bound for what it takes in memory, too."""
HEADER_SIZE = 200
"""Bytes of a header of the answer, in memory; its name is there once for all."""

Item: TypeAlias = QueueItem | bytes
"""JSON, or what it is made of once somebody takes it."""


class Subscription:
    """One listener. ``payloads`` gives messages, and None once there will be no more."""

    def __init__(self) -> None:
        self.payloads: asyncio.Queue[bytes | None] = asyncio.Queue(LISTENER_ITEMS + 1)
        self.ended = asyncio.Event()
        """Set when it could not keep up, or when nothing is sent any more."""

    def offer(self, payload: bytes) -> bool:
        """Give a message; False when the listener is too slow and will hear no more."""
        if self.payloads.qsize() >= LISTENER_ITEMS:
            self.end()
            return False
        self.payloads.put_nowait(payload)
        return True

    def end(self) -> None:
        """Say that there is no more."""
        if not self.ended.is_set():
            self.ended.set()
            self.payloads.put_nowait(None)


class Listeners:
    """Who hears of everything said on one channel, from the moment they listen. False while there is nobody."""

    def __init__(self) -> None:
        self._listening: set[Subscription] = set()

    def __bool__(self) -> bool:
        return bool(self._listening)

    def listen(self) -> Subscription:
        """Hear of everything from now on, until :meth:`leave`."""
        listener = Subscription()
        self._listening.add(listener)
        return listener

    def leave(self, listener: Subscription) -> None:
        """Hear no more."""
        self._listening.discard(listener)

    def tell(self, payload: bytes) -> None:
        """Say something; who cannot keep up is let go."""
        for listener in list(self._listening):
            if not listener.offer(payload):
                self._listening.discard(listener)

    def end(self) -> None:
        """Let everybody go."""
        for listener in self._listening:
            listener.end()
        self._listening.clear()


class UsageQueue:
    """Belongs to the event loop. ``clock`` gives monotonic seconds.

    While somebody listens and nobody has popped within the last retention period, items go to listeners only.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._items: deque[tuple[float, Item]] = deque()
        self._bytes = 0
        self._popped_at = float("-inf")
        self.listeners = Listeners()
        """Of every item."""
        self.errors = Listeners()
        """Of what goes wrong at accounts."""
        self.retention = 60.0
        """Seconds an item is kept."""
        self.enabled = False
        self.dropped = 0
        """Items that were pushed out by newer ones before their time."""

    def __len__(self) -> int:
        self._expire()
        return len(self._items)

    def configure(self, *, enabled: bool, retention: float) -> None:
        """Follow the configuration; disabling forgets everything."""
        self.enabled, self.retention = enabled, retention
        if not enabled:
            self._items.clear()
            self._bytes = 0

    def close(self) -> None:
        """Let all listeners go."""
        self.listeners.end()
        self.errors.end()

    def put(self, item: Item) -> None:
        """Add an item."""
        if not self.enabled:
            return
        if self.listeners:
            self.listeners.tell(_encoded(item))
        now = self._clock()
        if self.listeners and now - self._popped_at > self.retention:
            return
        self._expire()
        self._items.append((now, item))
        self._bytes += _size(item)
        while len(self._items) > MOST_ITEMS or self._bytes > MOST_BYTES:
            self._bytes -= _size(self._items.popleft()[1])
            self.dropped += 1

    def pop(self, count: int) -> list[bytes]:
        """Up to ``count`` items, the oldest first."""
        self._popped_at = self._clock()
        self._expire()
        found = [self._items.popleft()[1] for _ in range(min(count, len(self._items)))]
        self._bytes -= sum(map(_size, found))
        return [_encoded(item) for item in found]

    def _expire(self) -> None:
        oldest = self._clock() - self.retention
        while self._items and self._items[0][0] < oldest:
            self._bytes -= _size(self._items.popleft()[1])


def _encoded(item: Item) -> bytes:
    return item if isinstance(item, bytes) else item.encode()


def _size(item: Item) -> int:
    if isinstance(item, bytes):
        return len(item)
    return USUAL_SIZE + len(item.event.fail_body) + HEADER_SIZE * len(item.details.response_headers)
