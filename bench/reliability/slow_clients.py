"""Good clients beside many that dribble their heads and some that do not read their answers."""

from __future__ import annotations

import asyncio
import time

import aiohttp
import orjson
from msgspec import Struct

from bench.reliability.stage import CLIENT, Stage, ask, body, percentile

TURNS = 50
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Result(Struct):
    """Seconds of a good client's whole answer."""

    alone_p50: float
    alone_p99: float
    beside_p50: float
    beside_p99: float
    failed: int
    still_open: int
    """Connections of dribbling clients after the time for a head is over."""
    lag: dict[str, float]


async def run(stage: Stage, dribblers: int, readers: int, requests: int, wait: float = 12.0) -> Result:
    """Measure ``requests`` good answers alone and beside the others; then wait until those have lost their places."""
    alone, failed = await _good(stage, requests)
    writers = [await _connect(stage, HEAD) for _ in range(dribblers)]
    text = "x" * 2000
    asked = orjson.dumps(body(text, stream=True))
    head = HEAD + f"Authorization: {CLIENT['Authorization']}\r\nContent-Length: {len(asked)}\r\n\r\n".encode()
    for _ in range(readers):
        writer = await _connect(stage, head + asked)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writers.append(writer)
    dribbling = asyncio.create_task(_dribble(writers[:dribblers]))
    beside, failed_beside = await _good(stage, requests)
    lag = await stage.lag()
    await asyncio.sleep(wait)
    still_open = int(await stage.value("cpa_connections", state="open"))
    dribbling.cancel()
    for writer in writers:
        writer.transport.abort()
    return Result(
        alone_p50=percentile(alone, 0.5),
        alone_p99=percentile(alone, 0.99),
        beside_p50=percentile(beside, 0.5),
        beside_p99=percentile(beside, 0.99),
        failed=failed + failed_beside,
        still_open=still_open,
        lag=lag,
    )


async def _connect(stage: Stage, sent: bytes) -> asyncio.StreamWriter:
    _, writer = await asyncio.open_connection("127.0.0.1", stage.port)
    writer.write(sent)
    return writer


async def _dribble(writers: list[asyncio.StreamWriter]) -> None:
    """A byte from each twice a second, evenly spread: bursts would slow down the good clients of this process."""
    while True:
        for at in range(TURNS):
            for writer in writers[at::TURNS]:
                if not writer.transport.is_closing():
                    writer.write(b"X")
            await asyncio.sleep(0.5 / TURNS)


async def _good(stage: Stage, requests: int) -> tuple[list[float], int]:
    times, failed = [], 0
    async with aiohttp.ClientSession() as session:
        for number in range(requests):
            begun = time.perf_counter()
            failed += not await ask(session, stage, f"good-{number}", stream=False)
            times.append(time.perf_counter() - begun)
    return times, failed
