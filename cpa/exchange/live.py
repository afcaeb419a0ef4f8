"""Requests as they happen, for those who watch. Costs one look at an empty set while nobody does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

MOST_WAITING = 1000
"""Happenings that wait for a slow watcher; the oldest are left out."""


class LiveFeed:
    """Where finished and beginning requests are told. One per daemon."""

    def __init__(self) -> None:
        self.mask: Callable[[str], str] = str
        """Takes secrets out of what is told."""
        self.watchers: set[asyncio.Queue[dict[str, Any]]] = set()

    def watch(self) -> asyncio.Queue[dict[str, Any]]:
        """Tell this queue from now on, until :meth:`leave`."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MOST_WAITING)
        self.watchers.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[dict[str, Any]]) -> None:
        """Tell it no more."""
        self.watchers.discard(queue)

    def close(self) -> None:
        """Tell every watcher that it is over."""
        self.tell("stopping", {})

    def tell(self, what: str, fields: Mapping[str, Any]) -> None:
        """Something has happened: ``begun``, ``finished`` or ``stopping``."""
        event: dict[str, Any] = {"what": what, "at_ms": int(time.time() * 1000)}
        for name, value in fields.items():
            event[name] = self.mask(value) if isinstance(value, str) else value
        for queue in self.watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)
