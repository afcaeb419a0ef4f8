"""Names to addresses. A name server that does not answer holds up requests for that name only."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, TypeAlias

Addresses: TypeAlias = list[tuple[Any, ...]]
"""As ``socket.getaddrinfo`` gives them."""

MOST_LOOKUPS = 64
"""Names that are looked up at a time; each takes a thread, which cannot be interrupted."""


class Resolver:
    """Looks each name up once at a time, whoever asks for it, in threads of its own.

    The event loop's pool of threads is shared with everything else that must not block, and has few of them.
    """

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], asyncio.Future[Addresses]] = {}

    async def addresses(self, host: str, port: int) -> Addresses:
        """The addresses of a name, or of an address written as text. Raises OSError (``socket.gaierror``)."""
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            pass  # no address, so it is a name
        key = (host, port)
        running = self._running.get(key)
        if running is None:
            running = self._begin(key)
        return await asyncio.shield(running)

    def _begin(self, key: tuple[str, int]) -> asyncio.Future[Addresses]:
        if len(self._running) >= MOST_LOOKUPS:
            raise socket.gaierror(socket.EAI_AGAIN, "too many names are being looked up")
        loop = asyncio.get_running_loop()
        future = self._running[key] = loop.create_future()
        future.add_done_callback(_note)
        thread = threading.Thread(target=self._look_up, args=(loop, key), name="cpa-resolver", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            del self._running[key]
            raise socket.gaierror(socket.EAI_AGAIN, "no thread to look names up") from None
        return future

    def _look_up(self, loop: asyncio.AbstractEventLoop, key: tuple[str, int]) -> None:
        """In the thread."""
        found: Addresses | OSError
        try:
            found = socket.getaddrinfo(*key, type=socket.SOCK_STREAM)
        except OSError as fault:
            found = fault
        except UnicodeError:
            found = socket.gaierror(socket.EAI_NONAME, "not a name")
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._done, key, found)

    def _done(self, key: tuple[str, int], found: Addresses | OSError) -> None:
        future = self._running.pop(key)
        if future.done():
            return
        if isinstance(found, OSError):
            future.set_exception(found)
        else:
            future.set_result(found)


def _note(future: asyncio.Future[Addresses]) -> None:
    """Everybody who waited may have left; what the lookup brought is looked at all the same."""
    if not future.cancelled():
        future.exception()
