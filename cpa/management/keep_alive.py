"""``GET /keep-alive``: the daemon ends when the desktop program that started it falls silent."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable

from aiohttp import web

from cpa.management.answers import answer

SILENCE = 10.0
"""Seconds without a call after which the daemon stops."""


class KeepAlive:
    """Calls ``stop`` when nobody has called for a while. Present only when a local password was given at the start."""

    def __init__(self, password: str, stop: Callable[[], None], silence: float = SILENCE) -> None:
        self._password = password.encode("utf-8", "surrogateescape")
        self._stop = stop
        self._silence = silence
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to wait for calls."""
        self.cancel()
        self._timer = asyncio.get_running_loop().call_later(self._silence, self._stop)

    def cancel(self) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()

    async def handle(self, request: web.Request) -> web.Response:
        """200 to whoever has the password, and the waiting starts anew."""
        given = request.headers.get("Authorization")
        if given is None:
            given = request.headers.get("X-Local-Password", "")
        scheme, _, rest = given.partition(" ")
        key = rest if scheme.lower() == "bearer" else given
        if not hmac.compare_digest(key.encode("utf-8", "surrogateescape"), self._password):
            return answer({"error": "invalid password"}, 401)
        self.start()
        return answer({"status": "ok"})
