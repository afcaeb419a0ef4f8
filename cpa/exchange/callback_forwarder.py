"""Sends browsers that come to a vendor's registered port on to the daemon's own callback page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from msgspec import Struct, field

from cpa.accounts.login.loopback import LoopbackServer, PageAnswer, PageRequest


class _Port(Struct):
    """One port that is listened on, while somebody needs it."""

    server: LoopbackServer
    pages: dict[str, str] = field(default_factory=dict)
    """Path here and path at the daemon."""
    users: int = 0


class CallbackForwarder:
    """Listens on loopback only, for as long as a login needs it; logins of one provider share a port.

    ``origin`` gives where the daemon listens. The target is made of that and a fixed path, never of the request.
    """

    def __init__(self, origin: Callable[[], str]) -> None:
        self._origin = origin
        self._ports: dict[int, _Port] = {}
        self._order = asyncio.Lock()

    @asynccontextmanager
    async def forwarding(self, port: int, path: str, target: str) -> AsyncIterator[None]:
        """Send requests for ``path`` on ``port`` to ``target`` meanwhile. Raises LoginError when it cannot be had."""
        async with self._order:
            known = self._ports.get(port)
            if known is None:
                known = _Port(LoopbackServer(lambda request: self._answer(port, request)))
                await known.server.start(port)
                self._ports[port] = known
            known.pages[path] = target
            known.users += 1
        try:
            yield
        finally:
            known.users -= 1
            async with self._order:
                if not known.users and self._ports.get(port) is known:
                    del self._ports[port]
                    await known.server.close()

    async def close(self) -> None:
        """Stop listening everywhere."""
        ports = list(self._ports.values())
        self._ports.clear()
        for port in ports:
            await port.server.close()

    async def _answer(self, port: int, request: PageRequest) -> PageAnswer:
        known = self._ports.get(port)
        target = known.pages.get(request.path) if known is not None else None
        if target is None:
            return PageAnswer(404)
        if request.method not in ("GET", "HEAD"):
            return PageAnswer(405, headers={"Allow": "GET"})
        query = f"?{request.query}" if request.query else ""
        headers = {
            "Location": f"{self._origin()}{target}{query}",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }
        return PageAnswer(302, headers=headers)
