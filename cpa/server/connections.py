"""Connections of clients: how many there may be, and how long each may keep us waiting.

What waits without end costs a place and a file descriptor: the head of a request, a body that stops coming, an answer
that is not read. Answers that take their time are no concern of these limits.
"""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable
from typing import TypeAlias, cast

from aiohttp import web

from cpa.server.direct import Direct, DirectConnection

HEAD_SECONDS = 10.0
"""For the first byte of a connection, and for the head of a request from its first byte on."""
WRITE_SECONDS = 60.0
"""For a client to read on when its connection is full."""
RESERVED_FILES = 48
"""File descriptors for everything that is no connection: database, logs, auth files."""
MOST_CONNECTIONS = 10_000
FEWEST_CONNECTIONS = 16
_SORRY = b"too many connections are open"
BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_SORRY), _SORRY)
)

Factory: TypeAlias = Callable[[], asyncio.BaseProtocol]
Other: TypeAlias = Callable[[int], asyncio.Protocol | None]
"""``other(first_byte)``: the protocol for such a connection; None leaves it to HTTP."""


def places() -> int:
    """How many connections there may be: each needs a file descriptor, and another one for its upstream.

    The process's own limit is raised as far as the system lets it be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, (soft - RESERVED_FILES) // 2))


class Connections:
    """All connections of one listener."""

    def __init__(self, direct: Direct, http: Factory, other: Other, most: int) -> None:
        self.direct = direct
        self.http = http
        self.other = other
        self.most = most
        self.open: set[Connection] = set()
        self.idle: dict[Connection, None] = {}
        """Those that have been answered and wait for another request, the longest waiting first."""
        self.refused = 0
        """Connections that were sent away because there was no place."""

    def make(self) -> Connection:
        """The protocol for a new connection."""
        return Connection(self)

    def end(self) -> None:
        """Answer what is being answered, nothing more."""
        for connection in list(self.open):
            connection.end()

    def find_place(self) -> bool:
        """Whether there is a place for one more; a connection that idles gives up its own."""
        if len(self.open) < self.most:
            return True
        if self.idle:
            next(iter(self.idle)).close()
            return True
        self.refused += 1
        return False


class Connection(asyncio.Protocol):
    """One connection. Its first byte says which protocol it speaks; HTTP is passed on and watched."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._direct: DirectConnection | None = None
        """Reads HTTP until something comes that is not for it."""
        self._inner: asyncio.Protocol | None = None
        """aiohttp's, for the rest of the connection."""
        self._head: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._running = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first byte, if there is a place."""
        connected = cast(asyncio.Transport, transport)
        if not self._connections.find_place():
            connected.write(BUSY)
            connected.close()
            return
        self._transport = connected
        self._connections.open.add(self)
        self.await_more()

    def data_received(self, data: bytes) -> None:
        """Pass on; the first time decide to whom."""
        if self._direct is not None:
            self._direct.feed(data)
            return
        inner = self._inner
        if inner is None:
            self._decide(data)
            return
        if self._running == 0 and self._head is None:
            self.await_more()
        inner.data_received(data)

    def _decide(self, data: bytes) -> None:
        transport = self._transport
        if transport is None:
            return
        other = self._connections.other(data[0])
        if other is not None:
            self._cancel()
            transport.set_protocol(_Counted(other, self))
            other.connection_made(transport)
            other.data_received(data)
            return
        self._direct = DirectConnection(self._connections.direct, transport, self)
        self._direct.feed(data)

    def pass_on(self, data: bytes) -> None:
        """From these bytes on aiohttp reads."""
        assert self._transport is not None
        if self._head is None:
            self.await_more()
        self._direct = None
        self._inner = cast(asyncio.Protocol, self._connections.http())
        self._inner.connection_made(self._transport)
        if self._stalled is not None:
            self._inner.pause_writing()
        self._inner.data_received(data)

    def request_began(self) -> None:
        """The head of a request is complete."""
        self._running += 1
        self._connections.idle.pop(self, None)
        self._stop_waiting()

    def request_ended(self) -> None:
        """A request is answered."""
        self._running -= 1
        self._stop_waiting()
        if self._running == 0 and self in self._connections.open:
            self._connections.idle[self] = None

    def eof_received(self) -> bool | None:
        """The client sends nothing more."""
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        """The client does not read as fast as is written: it may take a while, not for ever."""
        if self._stalled is None and self._transport is not None:
            self._stalled = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._transport.abort)
        if self._direct is not None:
            self._direct.pause()
        elif self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The client reads on."""
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._direct is not None:
            self._direct.resume()
        elif self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self.forget()
        if self._direct is not None:
            self._direct.lost()
        elif self._inner is not None:
            self._inner.connection_lost(exc)

    def forget(self) -> None:
        """Free its place."""
        self._cancel()
        self._connections.open.discard(self)
        self._connections.idle.pop(self, None)

    def close(self) -> None:
        """End it: somebody else needs its place."""
        self.forget()
        self.hang_up()

    def end(self) -> None:
        """Answer what is being answered, nothing more; what aiohttp reads is ended by it."""
        if self._direct is not None:
            self._direct.close()
        elif self._transport is not None and self._inner is None and self._transport.get_protocol() is self:
            self.hang_up()

    def hang_up(self) -> None:
        """End it once the client has read its answers; it may take a while for that, not for ever."""
        assert self._transport is not None
        self._transport.close()
        if self._stalled is None and self._transport.get_write_buffer_size():
            self._stalled = asyncio.get_running_loop().call_later(WRITE_SECONDS, self._transport.abort)

    def await_more(self) -> None:
        """The client has to send more, and soon."""
        self._head = asyncio.get_running_loop().call_later(HEAD_SECONDS, self.hang_up)

    def _stop_waiting(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _cancel(self) -> None:
        for timer in (self._head, self._stalled):
            if timer is not None:
                timer.cancel()
        self._head = self._stalled = None


class _Counted(asyncio.Protocol):
    """Another protocol, whose connection keeps its place until it is over."""

    def __init__(self, inner: asyncio.Protocol, connection: Connection) -> None:
        self._connection = connection
        self.data_received = inner.data_received  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]
        self._lost = inner.connection_lost

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        self._connection.forget()
        self._lost(exc)


def connection_of(request: web.Request) -> Connection | None:
    """The connection a request came over; None for one that is not watched, or lost already."""
    transport = request.transport
    protocol = transport.get_protocol() if transport is not None else None
    return protocol if isinstance(protocol, Connection) else None
