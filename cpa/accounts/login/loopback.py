"""A very small HTTP server for this machine's browser: GET only, one request per connection, on loopback only."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct, field

from cpa.errors import LoginError
from cpa.network import LOOPBACK_NAMES, host_name

HEAD_LIMIT = 16 * 1024
SECONDS = 10.0
"""A browser that needs longer for its request, or to read the answer, is dropped."""
MOST_CONNECTIONS = 32
_ABSENT = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
"""What binding to ::1 fails with where there is no IPv6."""


class PageRequest(Struct, frozen=True):
    """A request."""

    method: str
    path: str
    query: str

    def __repr__(self) -> str:
        return f"PageRequest({self.method} {self.path})"


class PageAnswer(Struct, frozen=True):
    """An answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answering: TypeAlias = Callable[[PageRequest], Awaitable[PageAnswer]]


class LoopbackServer:
    """Serves ``answer`` on 127.0.0.1, and on ::1 where there is one."""

    def __init__(self, answer: Answering) -> None:
        self._answer = answer
        self._servers: list[asyncio.Server] = []
        self._serving: set[asyncio.Task[None]] = set()
        self.port = 0
        """The port that is listened on."""

    async def start(self, port: int) -> None:
        """Listen on ``port`` and no other; 0 takes a free one.

        Raises LoginError: ``port_in_use`` when somebody else listens there, ``server_start_failed``.
        """
        sockets = _bind(port)
        self.port = sockets[0].getsockname()[1]
        for sock in sockets:
            self._servers.append(await asyncio.start_server(self._serve, sock=sock, limit=HEAD_LIMIT))

    async def close(self, grace: float = 0.0) -> None:
        """Stop listening; answers on their way get ``grace`` seconds."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        if self._serving and grace:
            await asyncio.wait(self._serving, timeout=grace)
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # uvloop closes its sockets in the next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            if len(self._serving) <= MOST_CONNECTIONS:
                async with asyncio.timeout(SECONDS):
                    request = await _read(reader)
                answer = PageAnswer(400) if request is None else await self._answer(request)
                async with asyncio.timeout(SECONDS):
                    writer.write(_written(answer))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.CancelledError):
            pass  # the browser is gone or slow, or the login is over
        finally:
            self._serving.discard(task)
            writer.close()


def _bind(port: int) -> list[socket.socket]:
    found: list[socket.socket] = []
    try:
        found.append(socket.create_server(("127.0.0.1", port)))
        if socket.has_ipv6:
            try:
                found.append(socket.create_server(("::1", found[0].getsockname()[1]), family=socket.AF_INET6))
            except OSError as fault:
                if fault.errno not in _ABSENT:
                    raise
    except OSError as fault:
        for sock in found:
            sock.close()
        if fault.errno == errno.EADDRINUSE:
            message = f"port {port} is in use by another program, and the vendor sends the browser back to no other"
            raise LoginError("port_in_use", message) from None
        reason = fault.strerror or str(fault)
        raise LoginError("server_start_failed", f"cannot listen on port {port}: {reason}") from None
    return found


async def _read(reader: asyncio.StreamReader) -> PageRequest | None:
    """The request; None for one that cannot be read, or that was sent to another host's name."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    hosts = [line.partition(":")[2].strip() for line in lines[1:] if line.lower().startswith("host:")]
    if len(words) != 3 or len(hosts) != 1 or host_name(hosts[0]) not in LOOPBACK_NAMES:
        return None
    if not (words[1].isascii() and words[1].isprintable()):
        return None
    with suppress(ValueError):
        target = urlsplit(words[1])
        return PageRequest(words[0], target.path, target.query)
    return None


def _written(answer: PageAnswer) -> bytes:
    headers = {**answer.headers, "Content-Length": str(len(answer.body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{head}\r\n".encode() + answer.body
