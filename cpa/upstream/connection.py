"""One HTTP/1.1 connection to a server: one request at a time, its answer piece by piece.

The asyncio protocol feeds an httptools parser (llhttp, the parser of Node.js). Nothing is awaited per piece that has
already arrived, and time limits cost a comparison: one timer per connection is armed for the earliest moment at which
anything may be overdue, and armed again only when it fires.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from typing import Any, cast

import httptools
from multidict import CIMultiDict

from cpa.upstream.faults import WireFault, closed_early, cut_off, not_http

HEAD_LIMIT = 64 * 1024
"""Bytes of one header line, and of a status line."""
HEADERS_LIMIT = 256 * 1024
"""Bytes of all header lines together."""
INTERIM_LIMIT = 1000
"""Heads of the kind ``100 Continue`` before the answer."""
READ_AHEAD = 256 * 1024
"""Bytes of a body that wait for their reader before the server is asked to pause."""
NEVER = float("inf")


class Limits:
    """When an answer is overdue, in loop time."""

    __slots__ = ("first_byte_at", "idle", "total_at")

    def __init__(self, first_byte_at: float, idle: float, total_at: float) -> None:
        """``idle`` is seconds between two pieces; ``NEVER`` for no limit."""
        self.first_byte_at = first_byte_at
        self.idle = idle
        self.total_at = total_at


class Connection(asyncio.Protocol):
    """Carries requests one after the other. ``lost`` is called once when it can carry no more while it is idle."""

    def __init__(self, host: str, lost: Callable[[Connection], None]) -> None:
        self._host = host
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._transport = cast(asyncio.Transport, None)
        self._parser: Any = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._limits = Limits(NEVER, NEVER, NEVER)
        self._waiter: asyncio.Future[None] | None = None
        self._waiting_since = 0.0
        self._paused = False
        self._reading = False
        self._fault: Exception | None = None
        self._headless = False
        self._clear()
        self.answered = 0
        """Requests that got an answer."""
        self.idle_since = 0.0
        """Loop time since which it serves nobody; kept by the pool."""

    def _clear(self) -> None:
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0
        self._head_bytes = 0
        """Bytes of the head, or after it since the last piece of the body: chunk extensions, trailers."""
        self._interim = 0
        self._has_head = False
        self._complete = False
        self._until_close = False
        self._kept_alive = False
        """Whether the finished answer leaves the connection open."""

    # -- what the pool and the answer ask ------------------------------------------------------------------------

    @property
    def open(self) -> bool:
        """Whether another request can be sent."""
        return self._fault is None and not self._reading and not self._transport.is_closing()

    @property
    def complete(self) -> bool:
        """Whether the answer was received to its end, and all of it has been read."""
        return self._complete and not self._pieces

    async def send(self, request: Iterable[bytes], limits: Limits, *, headless: bool) -> None:
        """Send a request, which may come in pieces, and wait for the head of its answer.

        ``headless`` says that the answer has no body whatever its headers say (to HEAD). Raises WireFault or
        TimeoutError; then the connection is closed.
        """
        if self._fault is not None:
            raise self._fault
        self._clear()
        self._headless = headless
        self._limits = limits
        self._reading = True
        self._watch(min(limits.first_byte_at, limits.total_at))
        for piece in request:
            self._transport.write(piece)
        try:
            while not self._has_head:
                await self._wait()
        except BaseException:
            self.close()
            raise
        self.answered += 1

    async def read(self) -> bytes:
        """Some bytes of the body as they came, b"" at its end. Raises WireFault or TimeoutError."""
        while not self._pieces:
            if self._complete:
                return b""
            await self._wait()
        pieces = self._pieces
        self._pieces = []
        self._waiting_bytes = 0
        self._read_on()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> bool:
        """The answer is of no more interest; whether the connection can carry another request. Closes it if not."""
        transport = self._transport
        whole = self._kept_alive and self._fault is None
        if not whole or transport.is_closing() or transport.get_write_buffer_size():
            self.close()
            return False
        self._reading = False
        self._pieces = []
        self._limits = Limits(NEVER, NEVER, NEVER)
        self._read_on()
        return True

    def close(self) -> None:
        """Drop it at once."""
        self._fault = self._fault or cut_off(self._host)
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()

    def _read_on(self) -> None:
        if self._paused:
            self._paused = False
            if self._fault is None:
                self._transport.resume_reading()

    # -- waiting and time ------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        if self._fault is not None:
            raise self._fault
        self._waiter = self._loop.create_future()
        if self._has_head and self._limits.idle != NEVER:
            self._waiting_since = self._loop.time()
            self._watch(min(self._waiting_since + self._limits.idle, self._limits.total_at))
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._fault is not None and not self._pieces and not self._complete:
            raise self._fault

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _watch(self, when: float) -> None:
        if when < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._loop.call_at(when, self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """Time is up for something, or would be had nothing come since."""
        self._timer, self._timer_at = None, NEVER
        if not self._reading or self._fault is not None:
            return
        limits, now = self._limits, self._loop.time()
        due, reason = limits.total_at, "the request exceeded its total time limit"
        if not self._has_head:
            if limits.first_byte_at < due:
                due, reason = limits.first_byte_at, f"{self._host} did not answer in time"
        elif self._waiter is not None and self._waiting_since + limits.idle < due:
            due, reason = self._waiting_since + limits.idle, f"the upstream was silent for {limits.idle:g} s"
        if now >= due:
            self._fail(TimeoutError(reason))
        else:
            self._watch(due)

    def _fail(self, fault: Exception) -> None:
        if self._fault is None:
            self._fault = fault
        self.close()
        self._wake()

    # -- asyncio's protocol ------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=False, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def data_received(self, data: bytes) -> None:
        if not self._reading:
            self._fail(not_http(self._host))
            self._lost(self)
            return
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, WireFault) as fault:
            context = fault.__context__
            self._fail(context if isinstance(context, WireFault) else not_http(self._host))
            return
        if self._head_bytes > HEADERS_LIMIT and not (self._complete or self._headless):
            self._fail(not_http(self._host))
            return
        if self._waiting_bytes > READ_AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended(said=_says_the_end(self._transport))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._reading:
            self._fault = self._fault or closed_early(self._host)
            self._stop_timer()
            self._lost(self)
        else:
            self._ended(said=False)

    def _ended(self, *, said: bool) -> None:
        """Nothing more comes; ``said`` when the server itself said so."""
        if self._complete or self._fault is not None:
            return
        if self._until_close and said:
            self._complete = True
            self._wake()
        else:
            self._fail(cut_off(self._host) if self._has_head or self._head_bytes else closed_early(self._host))

    # -- httptools' callbacks ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise not_http(self._host)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._has_head:
            return
        if len(name) + len(value) > HEAD_LIMIT:
            raise not_http(self._host)
        self.headers.add(name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            self._interim += 1
            if self._interim > INTERIM_LIMIT:
                raise not_http(self._host)
            self._head_bytes = 1  # the next head may be as long; but an answer has begun
            return
        self.status = status
        self._has_head = True
        if self._headless:
            self._complete = True
            return
        headers = self.headers
        coding = headers.getall("Transfer-Encoding", None)
        if coding is None:
            self._until_close = "Content-Length" not in headers
        else:
            self._until_close = coding[-1].rpartition(",")[2].strip().lower() != "chunked"

    def on_body(self, body: bytes) -> None:
        if not self._complete:
            self._pieces.append(body)
            self._waiting_bytes += len(body)
            self._head_bytes = 0

    def on_message_complete(self) -> None:
        if self._has_head:
            self._complete = True
            self._kept_alive = self._parser.should_keep_alive()


def _says_the_end(transport: asyncio.Transport) -> bool:
    """Whether an end comes from the server: over TLS anybody in between can end the connection, but not say goodbye."""
    tls = transport.get_extra_info("ssl_object")
    if tls is None:
        return True
    try:
        return bool(tls.read(1) == b"")
    except ssl.SSLZeroReturnError:
        return True
    except ssl.SSLError:
        return False
