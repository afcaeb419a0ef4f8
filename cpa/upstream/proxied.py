"""Requests that go through a proxy (http, https, socks5), by aiohttp: one session per proxy, kept and reused."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from cpa.upstream.faults import is_socks_fault, network_fault
from cpa.upstream.timeouts import IdleGuard, Timeouts

SESSIONS = 64
HEAD_LIMIT = 64 * 1024
READ_BUFFER = 256 * 1024


class ProxiedResponse:
    """An answer whose head has arrived. Read it whole or piece by piece, then ``close``."""

    def __init__(self, response: aiohttp.ClientResponse, guard: IdleGuard, host: str) -> None:
        self._response = response
        self._guard = guard
        self._host = host
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """The next piece as it arrives, b"" at the end. Raises UpstreamError when the connection is lost or silent for
        too long."""
        guard = self._guard
        guard.reading = True
        try:
            piece = await self._response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as fault:
            raise network_fault(fault, self._host) from fault
        guard.reading = False
        guard.last_activity = asyncio.get_running_loop().time()
        return piece

    def close(self) -> None:
        """Give the connection back when the answer was read to its end, else drop it at once."""
        self._guard.stop()
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class ProxiedSessions:
    """Sends requests through proxies. Owns its sessions; ``close`` ends them."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, aiohttp.ClientSession] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._answered: set[tuple[aiohttp.ClientSession, str]] = set()
        """Hosts that have answered in a session: a connection to them may be an old one."""

    async def send(
        self, method: str, url: str, proxy: str, headers: Mapping[str, str], body: bytes | None, timeouts: Timeouts
    ) -> ProxiedResponse:
        """Send a request and wait for the answer's head. Redirects are not followed.

        Raises UpstreamError for every network fault. A connection that was kept open and turns out to be closed
        by the other side is replaced once.
        """
        host = urlsplit(url).hostname or "upstream"
        session = self._session(proxy)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeouts.total if timeouts.total else 0.0
        for attempt in (1, 2):
            try:
                async with asyncio.timeout(_shortest(timeouts.first_byte, timeouts.total)):
                    response = await session.request(
                        method,
                        _url(url),
                        data=body,
                        headers=headers,
                        allow_redirects=False,
                        timeout=_connect_timeout(timeouts.connect),
                    )
                self._answered.add((session, host))
                return ProxiedResponse(response, IdleGuard(response, timeouts.idle, deadline), host)
            except (aiohttp.ServerDisconnectedError, ConnectionResetError, aiohttp.ClientOSError) as fault:
                if attempt == 1 and (session, host) in self._answered:
                    continue
                raise network_fault(fault, host) from fault
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as fault:
                raise network_fault(fault, host) from fault
            except Exception as fault:
                if is_socks_fault(fault):
                    raise network_fault(fault, host) from fault
                raise
        raise AssertionError("unreachable")

    def _session(self, proxy: str) -> aiohttp.ClientSession:
        known = self._sessions.get(proxy)
        if known is not None:
            self._sessions.move_to_end(proxy)
            return known
        session = _new_session(proxy)
        self._sessions[proxy] = session
        if len(self._sessions) > SESSIONS:
            _, oldest = self._sessions.popitem(last=False)
            self._answered = {pair for pair in self._answered if pair[0] is not oldest}
            task = asyncio.get_running_loop().create_task(oldest.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        return session

    async def close(self) -> None:
        """Close every session."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()
        if self._closing:
            await asyncio.gather(*self._closing, return_exceptions=True)


def _shortest(*limits: float) -> float | None:
    return min((limit for limit in limits if limit), default=None)


@lru_cache(maxsize=1024)
def _url(url: str) -> URL:
    return URL(url, encoded=True)


@lru_cache(maxsize=64)
def _connect_timeout(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=None, connect=seconds or None, sock_connect=seconds or None)


def _new_session(proxy: str) -> aiohttp.ClientSession:
    options: dict[str, Any] = {"limit": 0, "keepalive_timeout": 90.0, "ttl_dns_cache": 30}
    connector: aiohttp.BaseConnector
    http_proxy: str | None = None
    if urlsplit(proxy).scheme.lower().startswith("socks"):
        from aiohttp_socks import ProxyConnector

        connector = ProxyConnector.from_url(proxy.replace("socks5h://", "socks5://", 1), rdns=True, **options)
    else:
        connector = aiohttp.TCPConnector(**options)
        http_proxy = proxy
    return aiohttp.ClientSession(
        connector=connector,
        proxy=http_proxy,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
        read_bufsize=READ_BUFFER,
        max_line_size=HEAD_LIMIT,
        max_field_size=HEAD_LIMIT,
        skip_auto_headers=("User-Agent",),
        raise_for_status=False,
    )
