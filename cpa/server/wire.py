"""Send answers: whole ones, and streams with their keep-alives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol

from cpa.exchange.call import Answer
from cpa.exchange.recorder import Write
from cpa.server.request import Request

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_TOLD = frozenset({"content-type", "content-length", "transfer-encoding", "connection", "date"})
"""Headers that every answer has of its own; an upstream's are left out."""


class Wire(Protocol):
    """The way back to the client. It adds what every answer carries: length or chunks, date, the request's id."""

    async def whole(self, status: int, content_type: str, headers: Mapping[str, str], body: bytes) -> None:
        """A whole answer. Raises ConnectionError."""

    async def begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        """The head of a stream. Raises ConnectionError."""

    async def write(self, chunk: bytes) -> None:
        """A piece of the stream; waits while the client does not read. Raises ConnectionError."""

    async def end(self) -> None:
        """The stream is over. Raises ConnectionError."""

    def cut(self) -> None:
        """The stream is not, and nothing more of it can be sent: the connection ends, so that nobody takes it for one
        that is."""


async def send(wire: Wire, request: Request, answer: Answer) -> None:
    """Send an answer. A client that goes away cancels the stream, and that is no error."""
    stream: Any = answer.stream
    headers = answer.headers
    if headers:
        headers = {name: value for name, value in headers.items() if name.lower() not in _TOLD}
    if stream is None:
        await wire.whole(answer.status, answer.content_type, headers, answer.body or b"")
        return
    recorder = request.recorder
    write = recorder.writing(wire.write, answer.trace) if recorder is not None and recorder.whole else wire.write
    seconds = request.config.streaming.keepalive_seconds
    try:
        await wire.begin(answer.status, answer.content_type, {**headers, **STREAM_HEADERS})
        if seconds > 0 and answer.keep_alive:
            await write_with_keep_alives(write, stream, seconds, lambda: wire.write(answer.keep_alive))
        else:
            async for chunk in stream:
                await write(chunk)
        await wire.end()
    except ConnectionError:
        wire.cut()
    finally:
        await stream.aclose()


async def write_with_keep_alives(
    write: Write, stream: AsyncIterator[bytes], seconds: float, keep_alive: Callable[[], Awaitable[None]]
) -> None:
    """Write a stream; whenever nothing of it has come for some seconds, after the first piece, keep it alive."""
    loop = asyncio.get_running_loop()
    last, writing = loop.time(), False

    async def beat() -> None:
        nonlocal last
        while True:
            await asyncio.sleep(max(0.0, last + seconds - loop.time()))
            if not writing and loop.time() - last >= seconds:
                last = loop.time()
                await keep_alive()
            elif writing:
                await asyncio.sleep(seconds)

    beating: asyncio.Task[None] | None = None
    try:
        async for chunk in stream:
            writing = True
            await write(chunk)
            writing, last = False, loop.time()
            if beating is None:
                beating = asyncio.create_task(beat())
    finally:
        if beating is not None:
            beating.cancel()
            await asyncio.wait((beating,))
