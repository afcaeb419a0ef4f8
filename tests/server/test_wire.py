"""Answers on their way: one of every header, whatever the upstream sent; keep-alives that fail in silence."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from cpa.config import Config
from cpa.exchange.call import Answer
from cpa.server.direct import DirectConnection, DirectWire
from cpa.server.request import Request
from cpa.server.wire import send, write_with_keep_alives


class Transport:
    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


class Connection:
    paused = False


class Asked:
    """As much of a request as a wire looks at."""

    method = "POST"
    path = "/v1/messages"
    request_id = "ours"
    config = Config(cors_origins=["*"])
    recorder = None
    headers = CIMultiDictProxy(CIMultiDict({"Origin": "http://a"}))


async def told(answer: Answer) -> tuple[bytes, list[tuple[str, str]], bytes]:
    """Status line, headers and body of what an answer becomes."""
    transport, asked = Transport(), cast(Request, Asked())
    wire = DirectWire(cast(DirectConnection, Connection()), cast(asyncio.Transport, transport), asked, last=False)
    await send(wire, asked, answer)
    head, _, body = transport.written.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    pairs = [line.decode().split(": ", 1) for line in lines]
    return first, [(name, value) for name, value in pairs], body


async def test_every_header_stands_once_and_ours_wins() -> None:
    passed = {"x-request-id": "theirs", "DATE": "then", "vary": "X", "X-Kept": "1", "content-length": "999"}
    first, pairs, body = await told(Answer(body=b"{}", headers=passed))
    headers = dict(pairs)
    assert first == b"HTTP/1.1 200 OK"
    assert max(Counter(name.lower() for name, _ in pairs).values()) == 1
    assert headers["X-Request-Id"] == "ours"
    assert headers["Content-Length"] == "2"
    assert headers["X-Kept"] == "1"
    assert body == b"{}"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
async def test_no_header_breaks_out_of_its_line(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        await told(Answer(body=b"{}", headers={"X": value}))


async def test_a_keep_alive_that_meets_a_gone_client_is_no_riddle_in_the_log() -> None:
    async def write(chunk: bytes) -> None:
        pass

    async def keep_alive() -> None:
        raise ConnectionResetError

    async def stream() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(0.1)

    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context))
    await write_with_keep_alives(write, stream(), 0.01, keep_alive)
    gc.collect()
    await asyncio.sleep(0)
    assert heard == []
