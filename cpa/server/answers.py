"""Errors as answers, and answers that keep their connection busy until they are there."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

import orjson

from cpa.errors import ErrorInfo
from cpa.exchange.call import Answer
from cpa.formats.codec import Codec

NEWLINE = b"\n"


def error_answer(error: ErrorInfo, codec: Codec, request_id: str) -> Answer:
    """An error in the client's format."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return Answer(
        status=codec.error_status(error),
        body=orjson.dumps(codec.encode_error(error, request_id=request_id)),
        headers=headers,
    )


def json_answer(body: Any, status: int = 200) -> Answer:
    """An answer made here."""
    return Answer(status=status, body=orjson.dumps(body))


async def with_newlines(answering: Coroutine[Any, Any, Answer], seconds: float) -> Answer:
    """A whole answer; when it takes longer than some seconds, one that sends blank lines until it is there.

    The first of them commits status 200. JSON allows white space in front, so clients read the body as ever.
    """
    task = asyncio.ensure_future(answering)
    try:
        done, _ = await asyncio.wait((task,), timeout=seconds)
    except BaseException:
        await _end(task)
        raise
    return task.result() if done else Answer(stream=_newlines(task, seconds))


async def _newlines(task: asyncio.Task[Answer], seconds: float) -> AsyncGenerator[bytes, None]:
    try:
        while not task.done():
            yield NEWLINE
            await asyncio.wait((task,), timeout=seconds)
        yield task.result().body or b""
    finally:
        await _end(task)


async def _end(task: asyncio.Task[Answer]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.wait((task,))
