"""Time limits of every phase of an upstream request."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from msgspec import Struct


class Timeouts(Struct, frozen=True):
    """Seconds; 0 means no limit."""

    connect: float = 30.0
    """Name resolution, proxy, TCP and TLS."""
    first_byte: float = 600.0
    """From the request to the first byte of the answer's head."""
    idle: float = 300.0
    """Between two pieces of the answer."""
    total: float = 0.0
    """The whole attempt."""


def timeouts_from(settings: Any, base: Timeouts) -> Timeouts:
    """``base`` with what a configuration section sets (attributes or keys ``connect``, ``first_byte`` ...)."""
    if settings is None:
        return base
    values = {}
    for name in Timeouts.__struct_fields__:
        value = settings.get(name) if isinstance(settings, dict) else getattr(settings, name, None)
        values[name] = getattr(base, name) if value is None else float(value)
    return Timeouts(**values)


class IdleGuard:
    """Ends a silent answer. One timer per answer, re-armed only when it fires: touching it costs an attribute.

    ``total_deadline`` is in loop time, 0 for none.
    """

    __slots__ = ("_handle", "_idle", "_loop", "_response", "_total_deadline", "last_activity", "reading")

    def __init__(self, response: aiohttp.ClientResponse, idle: float, total_deadline: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._response = response
        self._idle = idle
        self._total_deadline = total_deadline
        self._handle: asyncio.TimerHandle | None = None
        self.last_activity = self._loop.time()
        self.reading = False
        """True while somebody waits for bytes; a slow client does not make an upstream look silent."""
        if idle or total_deadline:
            self._arm()

    def _deadline(self) -> tuple[float, str]:
        idle_end = self.last_activity + self._idle if self._idle else float("inf")
        total_end = self._total_deadline or float("inf")
        if idle_end <= total_end:
            return idle_end, f"the upstream was silent for {self._idle:g} s"
        return total_end, "the request exceeded its total time limit"

    def _arm(self) -> None:
        self._handle = self._loop.call_at(self._deadline()[0], self._check)

    def _check(self) -> None:
        now = self._loop.time()
        if not self.reading and not (self._total_deadline and self._total_deadline <= now):
            self.last_activity = now
        deadline, reason = self._deadline()
        if now < deadline:
            self._arm()
            return
        self._handle = None
        self._response.content.set_exception(TimeoutError(reason))

    def stop(self) -> None:
        """The answer is over."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
