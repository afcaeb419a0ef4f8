"""Connections to servers that are reached directly: opened when needed, kept for the next request."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import aiohappyeyeballs

from cpa.upstream import tls
from cpa.upstream.address import Origin
from cpa.upstream.connection import Connection
from cpa.upstream.faults import WireFault, connecting_failed
from cpa.upstream.resolver import Resolver

KEPT_SECONDS = 90.0
KEPT_PER_ORIGIN = 256
SWEEP_SECONDS = 30.0
FALLBACK_SECONDS = 0.25
"""After which the next address of a name is tried beside the first (RFC 8305)."""


class ConnectionPool:
    """Owns the idle connections; those in use belong to their answer."""

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}
        self._origins: dict[Connection, Origin] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._resolver = Resolver()

    def take(self, origin: Origin) -> Connection | None:
        """A connection that is open and idle, the last used first."""
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            del self._origins[connection]
            if connection.open:
                return connection
            connection.close()
        return None

    async def open(self, origin: Origin, seconds: float) -> Connection:
        """A new connection. Raises WireFault; ``seconds`` (0 for no limit) bound name, TCP and TLS together."""
        try:
            async with asyncio.timeout(seconds or None):
                return await self._connect(origin)
        except TimeoutError:
            raise WireFault(504, "connect_timeout", f"connecting to {origin.host} took too long") from None
        except OSError as fault:
            raise connecting_failed(fault, origin.host) from fault

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep a connection whose answer is finished."""
        kept = self._idle.setdefault(origin, [])
        if self._closed or len(kept) >= KEPT_PER_ORIGIN:
            connection.close()
            return
        loop = asyncio.get_running_loop()
        connection.idle_since = loop.time()
        kept.append(connection)
        self._origins[connection] = origin
        if self._sweeper is None:
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        """Close what is idle; nothing is kept any more."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self._origins):
            connection.close()
        self._idle.clear()
        self._origins.clear()

    async def _connect(self, origin: Origin) -> Connection:
        loop = asyncio.get_running_loop()
        addresses = await self._resolver.addresses(origin.host, origin.port)
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no address")
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=FALLBACK_SECONDS, interleave=1, loop=loop
        )
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _, connection = await loop.create_connection(
                lambda: Connection(origin.host, self._forget),
                sock=sock,
                ssl=tls.CONTEXT if origin.secure else None,
                server_hostname=origin.host if origin.secure else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    def _forget(self, connection: Connection) -> None:
        """An idle connection was closed by the other side."""
        origin = self._origins.pop(connection, None)
        if origin is not None:
            self._idle[origin].remove(connection)

    def _sweep(self) -> None:
        """Close what has been idle for long."""
        self._sweeper = None
        loop = asyncio.get_running_loop()
        for connection in list(self._old(loop.time() - KEPT_SECONDS)):
            self._forget(connection)
            connection.close()
        self._idle = {origin: kept for origin, kept in self._idle.items() if kept}
        if self._origins:
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def _old(self, since: float) -> Iterator[Connection]:
        return (connection for connection in self._origins if connection.idle_since <= since)
