"""Turn answers and errors into HTTP."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import orjson
from aiohttp import web

from cpa.errors import ErrorInfo
from cpa.exchange.call import Answer
from cpa.formats.codec import Codec
from cpa.server.bodies import RECORDER
from cpa.server.whole import WholeAnswer, whole_answer

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
NEWLINE = b"\n"


def error_response(error: ErrorInfo, codec: Codec, request_id: str) -> web.Response:
    """An error in the client's format."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return web.Response(
        status=codec.error_status(error),
        body=orjson.dumps(codec.encode_error(error, request_id=request_id)),
        content_type="application/json",
        headers=headers,
    )


async def send_answer(request: web.Request, answer: Answer, keepalive_seconds: float) -> web.StreamResponse:
    """Send a whole answer or a stream. A client that went away cancels the stream."""
    if answer.stream is None:
        return whole_answer(request, answer)
    recorder = request.get(RECORDER)
    if recorder is not None and recorder.whole:
        answer.stream = recorder.sending(answer.stream)
    response = web.StreamResponse(
        status=answer.status, headers={**answer.headers, **STREAM_HEADERS, "Content-Type": answer.content_type}
    )
    return await _send_stream(request, response, answer, keepalive_seconds)


async def _send_stream(
    request: web.Request, response: web.StreamResponse, answer: Answer, keepalive_seconds: float
) -> web.StreamResponse:
    stream: Any = answer.stream
    try:
        await response.prepare(request)
        if keepalive_seconds > 0 and answer.keep_alive:
            await _write_with_keep_alives(response, stream, answer.keep_alive, keepalive_seconds)
        else:
            write = response.write
            async for chunk in stream:
                await write(chunk)
        await response.write_eof()
    except ConnectionError:
        return response
    finally:
        await stream.aclose()
    return response


async def _write_with_keep_alives(
    response: web.StreamResponse, stream: AsyncIterator[bytes], keep_alive: bytes, seconds: float
) -> None:
    """Write a stream; whenever nothing of it has come for some seconds, after the first piece, write a keep-alive."""
    loop = asyncio.get_running_loop()
    write = response.write
    last, writing = loop.time(), False

    async def beat() -> None:
        nonlocal last
        while True:
            await asyncio.sleep(max(0.0, last + seconds - loop.time()))
            if not writing and loop.time() - last >= seconds:
                last = loop.time()
                await write(keep_alive)
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


async def with_newlines(
    request: web.Request, answering: Awaitable[web.StreamResponse], seconds: float
) -> web.StreamResponse:
    """Send blank lines while a whole answer is awaited; the first of them commits status 200.

    JSON allows white space in front, so clients read the body as ever.
    """
    task = asyncio.ensure_future(answering)
    response: web.StreamResponse | None = None
    try:
        while True:
            done, _ = await asyncio.wait((task,), timeout=seconds)
            if done:
                break
            if response is None:
                response = web.StreamResponse(headers={"Content-Type": "application/json"})
                await response.prepare(request)
            await response.write(NEWLINE)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
    answer = task.result()
    if response is None:
        return answer
    if isinstance(answer, web.Response | WholeAnswer) and isinstance(answer.body, bytes):
        if (recorder := request.get(RECORDER)) is not None:
            recorder.answer(answer.body)
        await response.write(answer.body)
    await response.write_eof()
    return response
