"""Whole answers, written at once: one of every header, whatever the upstream sent; keep-alives that fail in silence."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from cpa.config import Config
from cpa.exchange.call import Answer
from cpa.server.answers import _write_with_keep_alives
from cpa.server.keys import CONFIG, REQUEST_ID
from cpa.server.whole import WholeAnswer


def asked(**headers: str) -> web.Request:
    request = make_mocked_request("POST", "/v1/messages", headers=headers)
    request[REQUEST_ID] = "ours"
    request[CONFIG] = Config(cors_origins=["*"])
    return request


def test_every_header_stands_once_and_ours_wins() -> None:
    passed = {"x-request-id": "theirs", "DATE": "then", "vary": "X", "X-Kept": "1", "content-length": "999"}
    headers = WholeAnswer(asked(Origin="http://a"), Answer(body=b"{}", headers=passed)).headers
    assert max(Counter(name.lower() for name in headers).values()) == 1
    assert headers["X-Request-Id"] == "ours"
    assert headers["Content-Length"] == "2"
    assert headers["X-Kept"] == "1"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
def test_no_header_breaks_out_of_its_line(value: str) -> None:
    with pytest.raises(ValueError, match="line break"):
        WholeAnswer(asked(), Answer(body=b"{}", headers={"X": value}))


async def test_a_keep_alive_that_meets_a_gone_client_is_no_riddle_in_the_log() -> None:
    class Response:
        async def write(self, data: bytes) -> None:
            if data == b"beat":
                raise ConnectionResetError

    async def stream() -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.sleep(0.1)

    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    await _write_with_keep_alives(cast(web.StreamResponse, Response()), stream(), b"beat", 0.01)
    gc.collect()
    await asyncio.sleep(0)
    assert told == []
