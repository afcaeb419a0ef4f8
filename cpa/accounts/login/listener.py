"""Waits on the loopback address for the one callback of one login, and shows its browser what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from cpa.accounts.login.callback import Callback, callback_of
from cpa.accounts.login.loopback import LoopbackServer, PageAnswer, PageRequest
from cpa.accounts.login.pages import HEADERS, Outcome, page, status_of

RESULT = "/success"
"""The fixed page every callback leads to, so that no code stays in the address bar."""


class CallbackListener:
    """One shot: the first callback counts, later ones change nothing.

    ``deliver`` takes the callback and never waits; ``outcome`` waits for the login's end.
    """

    def __init__(
        self, path: str, deliver: Callable[[Callback], object], outcome: Callable[[], Awaitable[Outcome]]
    ) -> None:
        self._path = path or "/"
        self._deliver = deliver
        self._outcome = outcome
        self._server = LoopbackServer(self._answer)
        self._taken = False
        self._leaving: asyncio.Future[None] | None = None
        """Set while a browser is on its way to the result."""

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.port

    async def start(self, port: int) -> None:
        """Listen. Raises LoginError when the port is not ours to have."""
        await self._server.start(port)

    async def close(self, grace: float = 2.0) -> None:
        """Stop listening; the browser gets ``grace`` seconds to come for its page, and to fetch it."""
        if self._leaving is not None and grace:
            await asyncio.wait([self._leaving], timeout=grace)
        await self._server.close(grace)

    async def _answer(self, request: PageRequest) -> PageAnswer:
        if request.path not in (self._path, RESULT):
            return PageAnswer(404)
        if request.method != "GET":
            return PageAnswer(405, b"Method not allowed", {"Content-Type": "text/plain", "Allow": "GET"})
        if request.path == self._path:
            return self._take(request.query)
        if self._leaving is not None and not self._leaving.done():
            self._leaving.set_result(None)
        outcome = await self._outcome() if self._taken else "unknown"
        return _shown(outcome)

    def _take(self, query: str) -> PageAnswer:
        try:
            found = callback_of(dict(parse_qsl(query, max_num_fields=50)))
        except ValueError:
            found = Callback()
        if not self._taken:
            self._taken = True
            self._deliver(found)
        if found.error:
            return _shown("denied" if found.error == "access_denied" else "failed")
        if not found.code or not found.state:
            return _shown("failed")
        if self._leaving is None:
            self._leaving = asyncio.get_running_loop().create_future()
        return PageAnswer(302, b"", {"Location": RESULT, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


def _shown(outcome: Outcome) -> PageAnswer:
    return PageAnswer(status_of(outcome), page(outcome), HEADERS)
