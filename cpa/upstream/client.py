"""The HTTP client: directly over connections of our own, through a proxy by aiohttp."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Protocol

from cpa.errors import UpstreamError
from cpa.upstream.address import Origin, split_url
from cpa.upstream.connection import NEVER, Connection, Limits
from cpa.upstream.decoding import ACCEPTED, Decoder, check_ends, decoders, unpack
from cpa.upstream.faults import WireFault, badly_packed, network_fault
from cpa.upstream.pool import ConnectionPool
from cpa.upstream.proxied import ProxiedSessions
from cpa.upstream.proxies import choose_proxy
from cpa.upstream.timeouts import Timeouts

LARGEST_BODY = 512 * 1024 * 1024
LONG_BODY = 64 * 1024
"""Bytes of a request's body from which on it is sent as it is, not as a copy behind its head."""
_UNASKED = "disconnected"
"""The fault of a kept connection that was closed before it carried the request: not a byte of an answer came."""


class UpstreamResponse(Protocol):
    """An answer whose head has arrived. Read it piece by piece, then ``close``."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """The next piece as it arrives, b"" at the end. Raises UpstreamError when the connection is lost or silent for
        too long."""

    def close(self) -> None:
        """Give the connection back when the answer was read to its end, else drop it at once."""


class DirectResponse:
    """The answer on a connection of our own."""

    def __init__(self, connection: Connection, origin: Origin, pool: ConnectionPool) -> None:
        self._connection: Connection | None = connection
        self._origin = origin
        self._pool = pool
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self._encoding = connection.headers.get("Content-Encoding")
        self._chain: list[Decoder] | None = None
        """Unpacks the body; None until it is needed."""
        self._unpacked: Iterator[bytes] = iter(())
        """What the piece read last was unpacked to and has not been given yet."""

    async def read(self) -> bytes:
        """See :class:`UpstreamResponse`."""
        connection = self._connection
        if connection is None:
            return b""  # closed: the connection may serve another request
        try:
            return await (self._read_packed(connection) if self._encoding else connection.read())
        except (WireFault, TimeoutError) as fault:
            raise network_fault(fault, self._origin.host) from fault
        except ValueError as fault:
            host = self._origin.host
            raise network_fault(badly_packed(host), host) from fault

    async def _read_packed(self, connection: Connection) -> bytes:
        if self._chain is None:
            self._chain = decoders(self._encoding or "")
        while not (piece := next(self._unpacked, b"")):
            packed = await connection.read()
            if not packed:
                check_ends(self._chain)
                break
            self._unpacked = unpack(self._chain, packed)
        return piece

    def close(self) -> None:
        """See :class:`UpstreamResponse`."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.finish():
            self._pool.give_back(self._origin, connection)


class UpstreamClient:
    """Sends requests. Owns its connections; ``close`` ends them.

    ``proxy`` gives the current global ``proxy-url``; what ``environ`` says of a host is looked up once.
    """

    def __init__(self, proxy: Callable[[], str], environ: Mapping[str, str] = os.environ) -> None:
        self._proxy = proxy
        self._choose_proxy = lru_cache(maxsize=1024)(
            lambda account, everybody, host, scheme: choose_proxy(account, everybody, host, environ, scheme)
        )
        self._pool = ConnectionPool()
        self._proxied = ProxiedSessions()

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeouts: Timeouts,
        account_proxy: str = "",
    ) -> UpstreamResponse:
        """Send a request and wait for the answer's head. Redirects are not followed.

        Raises UpstreamError for every network fault. A connection that was kept open and turns out to be closed
        by the other side is replaced once.
        """
        try:
            origin, target = split_url(url)
        except ValueError as fault:
            raise network_fault(fault, "upstream") from fault
        proxy = self._choose_proxy(account_proxy, self._proxy(), origin.host, origin.scheme)
        if proxy:
            return await self._proxied.send(method, url, proxy, headers, body, timeouts)
        try:
            request = request_pieces(method, origin, target, headers, body)
            return DirectResponse(await self._exchange(method, origin, request, timeouts), origin, self._pool)
        except (WireFault, TimeoutError, ValueError) as fault:
            raise network_fault(fault, origin.host) from fault

    async def _exchange(
        self, method: str, origin: Origin, request: tuple[bytes, ...], timeouts: Timeouts
    ) -> Connection:
        """A connection that has carried the request and has the answer's head."""
        now = asyncio.get_running_loop().time()
        first_byte, idle, total = timeouts.first_byte, timeouts.idle, timeouts.total
        limits = Limits(now + first_byte if first_byte else NEVER, idle or NEVER, now + total if total else NEVER)
        headless = method == "HEAD"
        kept = self._pool.take(origin)
        if kept is not None:
            try:
                await kept.send(request, limits, headless=headless)
                return kept
            except WireFault as fault:
                if fault.code != _UNASKED:
                    raise
        connection = await self._pool.open(origin, timeouts.connect)
        await connection.send(request, limits, headless=headless)
        return connection

    async def request(
        self,
        method: str,
        url: str,
        *,
        account: Any = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 60.0,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """See :class:`cpa.plugins.provider.HttpClient`."""
        response = await self.send(
            method,
            url,
            headers=headers or {},
            body=body,
            timeouts=Timeouts(connect=min(30.0, timeout), first_byte=timeout, idle=timeout, total=timeout),
            account_proxy=account.proxy_url if account is not None else "",
        )
        try:
            return response.status, response.headers, await read_whole(response, 64 * 1024 * 1024)
        finally:
            response.close()

    async def close(self) -> None:
        """Close every connection."""
        self._pool.close()
        await self._proxied.close()


async def pieces(response: UpstreamResponse) -> AsyncIterator[bytes]:
    """The body piece by piece. Raises UpstreamError as ``read`` does."""
    while piece := await response.read():
        yield piece


async def read_whole(response: UpstreamResponse, limit: int = LARGEST_BODY) -> bytes:
    """The whole body. Raises UpstreamError as ``read`` does, or when it exceeds ``limit`` bytes."""
    chunks, size = [], 0
    while chunk := await response.read():
        size += len(chunk)
        if size > limit:
            raise network_fault(WireFault(502, "answer_too_large", f"the answer exceeds {limit} bytes"), "")
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def request_pieces(
    method: str, origin: Origin, target: str, headers: Mapping[str, str], body: bytes | None
) -> tuple[bytes, ...]:
    """A request as it goes on the wire. Raises ValueError for a header that would break out of its line."""
    head = _head(method, origin, target, tuple(headers.items()))
    if body is None:
        return (head + (b"\r\n" if method in _BODILESS else b"Content-Length: 0\r\n\r\n"),)
    if len(body) >= LONG_BODY:
        return b"%bContent-Length: %d\r\n\r\n" % (head, len(body)), body
    return (b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body),)


@lru_cache(maxsize=256)
def _head(method: str, origin: Origin, target: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The lines of a request but the one that tells its length: requests through one account have the same mostly."""
    lines = [f"{method} {target} HTTP/1.1"]
    missing = dict(_DEFAULTS)
    for name, value in headers:
        lower = name.lower()
        if lower in _OURS:
            continue
        missing.pop(lower, None)
        lines.append(f"{name}: {value}")
    if "host" in missing:
        missing["host"] = f"Host: {origin.authority}"
    lines += missing.values()
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or "\0" in head:
        raise ValueError("a header holds a line break")
    return head.encode("utf-8", "surrogateescape") + b"\r\n"


_DEFAULTS = {"host": "", "accept": "Accept: */*", "accept-encoding": f"Accept-Encoding: {ACCEPTED}"}
"""Lines of headers that are sent when nothing else was asked for, by name."""
_OURS = frozenset({"content-length", "connection", "transfer-encoding", "keep-alive", "te", "upgrade"})
"""Headers that the connection sets itself."""
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})

__all__ = [
    "DirectResponse",
    "UpstreamClient",
    "UpstreamError",
    "UpstreamResponse",
    "pieces",
    "read_whole",
    "request_pieces",
]
