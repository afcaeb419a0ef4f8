"""HTTP/1.1 as coding tools speak it, without aiohttp between the socket and the surfaces.

Only what is plain is taken: a head that is there whole and written as everybody writes it, a body of known length, a
path without escapes that a surface serves. Everything else is left to aiohttp before a byte of it is looked at twice,
so whatever this module does not understand is answered as ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from aiohttp import MultipartReader
from msgspec import Struct

from cpa.exchange.call import Answer
from cpa.exchange.recorder import CLIENT_GONE
from cpa.server.clients import HOST_REFUSED, Doorkeeper, host_allowed
from cpa.server.head import HEAD_LIMIT, Head, HeadReader
from cpa.server.headers import allowed_origin, common_headers
from cpa.server.request import Request
from cpa.server.services import Services
from cpa.server.surface import Route, Routes
from cpa.server.wire import send

MOST_AHEAD = 64 * 1024
"""Bytes of further requests that are taken while one is answered; then the client is not read from."""
PLAIN_TEXT = "text/plain; charset=utf-8"
_HOST_REFUSED = Answer(status=421, content_type=PLAIN_TEXT, body=HOST_REFUSED.encode())


class Direct:
    """The requests of one listener that are served directly."""

    def __init__(self, services: Services, door: Doorkeeper, routes: Routes) -> None:
        self.services = services
        self.door = door
        self._routes = routes
        self.running: set[asyncio.Task[None]] = set()

    def route(self, head: Head) -> Route | None:
        """The route of a request; None when aiohttp must serve it."""
        route = self._routes.find(head.method, head.path)
        if route is None or head.length > self.services.config().max_body_size:
            return None
        return None if "multipart/" in head.headers.get("Content-Type", "").lower() else route

    async def stop(self, seconds: float) -> None:
        """Let running answers finish within some seconds, then cut them off."""
        if self.running:
            await asyncio.wait(self.running, timeout=seconds)
        for task in list(self.running):
            task.cancel()
        if self.running:
            await asyncio.wait(self.running)


class Owner(Protocol):
    """Whose connection it is: it watches how long a client keeps us waiting."""

    def request_began(self) -> None:
        """The head of a request is there."""

    def request_ended(self) -> None:
        """A request is answered, and its body has come to its end."""

    def await_more(self) -> None:
        """The client has to send more, and soon."""

    def pass_on(self, data: bytes) -> None:
        """From these bytes on the connection is not for us."""

    def hang_up(self) -> None:
        """There will be no more requests: end it once the client has read its answers."""


class DirectConnection:
    """One connection, as long as plain requests come over it; one is answered after the other."""

    def __init__(self, direct: Direct, transport: asyncio.Transport, owner: Owner) -> None:
        self._direct = direct
        self._transport = transport
        self._owner = owner
        self._heads = HeadReader()
        peer = transport.get_extra_info("peername")
        self._remote = str(peer[0]) if isinstance(peer, tuple) else ""
        self._body: DirectBody | None = None
        """Of the request that is being served; None while none is."""
        self._task: asyncio.Task[None] | None = None
        """Serves it; None once it is answered, though the rest of its body may still be to come."""
        self._ahead = b""
        """The beginning of what follows it."""
        self._last = False
        """Whether the connection ends with it."""
        self._writable: asyncio.Future[None] | None = None
        """Set while the client does not read as fast as is written."""

    def feed(self, data: bytes) -> None:
        """Take what came."""
        body = self._body
        if body is None:
            self._begin(data)
            return
        rest = body.feed(data)
        if rest:
            self._ahead += rest
            if len(self._ahead) > MOST_AHEAD:
                self._transport.pause_reading()
        if self._task is None and body.complete:
            self._next()

    def close(self) -> None:
        """Answer what is being answered, nothing more."""
        self._last = True
        if self._task is None:
            self._owner.hang_up()

    def lost(self) -> None:
        """The connection is over."""
        if self._task is not None:
            self._task.cancel()

    def pause(self) -> None:
        """The client does not read as fast as is written."""
        if self._writable is None:
            self._writable = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        """The client reads on."""
        if self._writable is not None:
            if not self._writable.done():
                self._writable.set_result(None)
            self._writable = None

    @property
    def paused(self) -> bool:
        """Whether it does not."""
        return self._writable is not None

    async def drain(self) -> None:
        """Wait until the client reads. Raises ConnectionResetError when it is gone."""
        if self._writable is not None:
            await asyncio.shield(self._writable)
        if self._transport.is_closing():
            raise ConnectionResetError("the client has closed the connection")

    def _begin(self, data: bytes) -> None:
        end = data.find(b"\r\n\r\n", 0, HEAD_LIMIT) + 4
        head = self._heads.read(data[:end]) if end > 3 else None
        route = self._direct.route(head) if head is not None else None
        if head is None or route is None:
            self._owner.pass_on(data)
            return
        self._owner.request_began()
        self._last = self._last or not head.keep_alive
        body = self._body = DirectBody(head.length)
        if len(data) > end:
            self._ahead = body.feed(data[end:])
        task = self._task = asyncio.get_running_loop().create_task(self._serve(route, head, body))
        running = self._direct.running
        running.add(task)
        task.add_done_callback(running.discard)

    async def _serve(self, route: Route, head: Head, body: DirectBody) -> None:
        direct = self._direct
        request = Request(
            direct.services, direct.door, head.method, head.path, head.target, head.headers, self._remote, body
        )
        wire = DirectWire(self, self._transport, request, last=self._last)
        status = 500
        try:
            allowed = host_allowed(self._remote, head.headers, request.config)
            answer = await route.surface(request) if allowed else _HOST_REFUSED
            status = answer.status
            await send(wire, request, answer)
        except (asyncio.CancelledError, ConnectionError):
            status = CLIENT_GONE
            self._transport.abort()
        except Exception:
            request.services.log.exception("request failed", request_id=request.request_id, path=head.path)
            if wire.sent is None and not self._transport.is_closing():
                await wire.whole(status, PLAIN_TEXT, {}, b"internal error")
            else:
                self._transport.abort()
        finally:
            request.finish(route.name, status, wire.sent)
            self._answered(body)

    def _answered(self, body: DirectBody) -> None:
        self._task = None
        if self._transport.is_closing():
            return
        if body.complete:
            self._next()
        else:
            body.drop()
            self._owner.await_more()

    def _next(self) -> None:
        """The next request may come."""
        self._body = None
        self._owner.request_ended()
        if self._last:
            self._owner.hang_up()
            return
        data, self._ahead = self._ahead, b""
        if len(data) > MOST_AHEAD:
            self._transport.resume_reading()
        if data:
            self._begin(data)


class DirectBody:
    """A body of known length on its way in."""

    def __init__(self, length: int) -> None:
        self.announced: int | None = length
        self._missing = length
        self._pieces: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._dropped = False

    @property
    def complete(self) -> bool:
        """Whether all of it has come."""
        return self._missing == 0

    def feed(self, data: bytes) -> bytes:
        """Take its share of what came; the rest."""
        missing = self._missing
        own = data if len(data) <= missing else data[:missing]
        self._missing = missing - len(own)
        if own and not self._dropped:
            self._pieces.append(own)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        return data[missing:]

    def drop(self) -> None:
        """Nobody wants the rest."""
        self._dropped = True
        self._pieces = []

    def at_once(self) -> bytes | None:
        """The whole body when all of it is there already."""
        return self._taken() if self._missing == 0 else None

    async def next_piece(self) -> bytes:
        """What has come since; empty at its end."""
        if not self._pieces and self._missing:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._taken()

    async def multipart(self) -> MultipartReader:
        """Forms are left to aiohttp, see :meth:`Direct.route`."""
        raise ValueError("this is no form")

    def _taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Told(Struct):
    """What a client was sent."""

    headers: dict[str, str]
    body: bytes | None = None
    """None for a stream."""


class DirectWire:
    """The way back to a client that is served directly."""

    def __init__(
        self, connection: DirectConnection, transport: asyncio.Transport, request: Request, *, last: bool
    ) -> None:
        """``last``: the connection ends with this answer."""
        self._connection = connection
        self._transport = transport
        self._request = request
        self._last = last
        self._head = b""
        """Of a stream, until it is written with its first piece."""
        self.sent: Told | None = None
        """None when nothing was sent."""

    async def whole(self, status: int, content_type: str, headers: Mapping[str, str], body: bytes) -> None:
        """See :class:`Wire`."""
        transport = self._transport
        if transport.is_closing():
            raise ConnectionResetError("the client has closed the connection")
        head = self._told(status, content_type, headers, "Content-Length", str(len(body)))
        assert self.sent is not None
        self.sent.body = body
        transport.write(head if self._request.method == "HEAD" else head + body)
        if self._connection.paused:
            await self._connection.drain()

    async def begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        """See :class:`Wire`. The head goes with the first piece, if that is there already."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has closed the connection")
        self._head = self._told(status, content_type, headers, "Transfer-Encoding", "chunked")
        asyncio.get_running_loop().call_soon(self._write_head)

    def _write_head(self) -> None:
        if self._head and not self._transport.is_closing():
            self._transport.write(self._head)
        self._head = b""

    async def write(self, chunk: bytes) -> None:
        """See :class:`Wire`."""
        connection, transport = self._connection, self._transport
        if transport.is_closing():
            raise ConnectionResetError("the client has closed the connection")
        if chunk:
            if self._head:
                head, self._head = self._head, b""
                transport.write(b"%b%x\r\n%b\r\n" % (head, len(chunk), chunk))
            else:
                transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if connection.paused:
            await connection.drain()

    async def end(self) -> None:
        """See :class:`Wire`."""
        if self._transport.is_closing():
            raise ConnectionResetError("the client has closed the connection")
        self._write_head()
        self._transport.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """See :class:`Wire`."""
        self._transport.abort()

    def _told(self, status: int, content_type: str, headers: Mapping[str, str], framing: str, value: str) -> bytes:
        """The head, up to its blank line. Raises ValueError for a header that would break out of its line."""
        request = self._request
        origin = allowed_origin(request.path, request.headers, request.config)
        fields = {
            "Content-Type": content_type,
            framing: value,
            "Date": _date(int(time.time())),
            **common_headers(request.request_id, origin),
        }
        if headers:
            ours = {name.lower() for name in fields}
            fields |= {name: text for name, text in headers.items() if name.lower() not in ours}
        if self._last:
            fields["Connection"] = "close"
        lines = [f"{name}: {text}" for name, text in fields.items()]
        head = "\r\n".join(lines)
        if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or "\0" in head:
            raise ValueError("a header holds a line break")
        self.sent = Told(fields)
        return f"HTTP/1.1 {status} {_reason(status)}\r\n{head}\r\n\r\n".encode("utf-8", "surrogateescape")


@lru_cache(maxsize=64)
def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)
