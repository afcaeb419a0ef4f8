"""Clients that leave at any moment: their upstream is left at once, a row says so, nothing stays behind."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time

import aiohttp
from msgspec import Struct

from bench.reliability.stage import CLIENT, EVENTS, PAUSE, Sample, Stage, body, percentile


class Result(Struct):
    """What came of it. Seconds."""

    left: int
    """Clients that left before their answer was complete."""
    upstream_p50: float
    """From a client's leaving to the end of its upstream."""
    upstream_p99: float
    upstream_max: float
    not_cancelled: int
    """Upstreams that were never left: the answer was complete by then, or the request had not got there yet."""
    rows: dict[str, int]
    """Rows of the usage record by status."""
    before: Sample
    after: Sample
    tracebacks: int


async def run(stage: Stage, clients: int, together: int = 50, seed: int = 1) -> Result:
    """Let ``clients`` ask and leave at random times, ``together`` at once."""
    random_times = random.Random(seed)
    left: dict[str, float] = {}
    await _leave_all(stage, "warm", min(clients, 200), together, random_times, {})
    before = await stage.settled()
    await _leave_all(stage, "client", clients, together, random_times, left)
    after = await stage.settled()
    await asyncio.sleep(1.0)
    delays = [stage.upstream.cancelled[m] - at for m, at in left.items() if m in stage.upstream.cancelled]
    return Result(
        left=len(left),
        upstream_p50=percentile(delays, 0.5),
        upstream_p99=percentile(delays, 0.99),
        upstream_max=max(delays, default=0.0),
        not_cancelled=len(left) - len(delays),
        rows=_rows(stage),
        before=before,
        after=after,
        tracebacks=stage.log().count("Traceback"),
    )


async def _leave_all(
    stage: Stage, name: str, clients: int, together: int, times: random.Random, left: dict[str, float]
) -> None:
    longest = EVENTS * PAUSE * 1.3
    places = asyncio.Semaphore(together)

    async def one(marker: str, seconds: float) -> None:
        async with places:
            await _leave(stage, marker, seconds, left)

    async with asyncio.TaskGroup() as group:
        for number in range(clients):
            group.create_task(one(f"{name}-{number}", times.uniform(0, longest)))


async def _leave(stage: Stage, marker: str, seconds: float, left: dict[str, float]) -> None:
    """Ask, and be gone after some time, wherever the answer is by then."""
    url = f"{stage.url}/v1/chat/completions"
    end = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + seconds):
                async with session.post(url, json=body(marker, stream=True), headers=CLIENT) as answer:
                    await answer.read()
        except TimeoutError:
            left[marker] = max(end, time.monotonic())


def _rows(stage: Stage) -> dict[str, int]:
    connection = sqlite3.connect(f"file:{stage.folder}/usage.sqlite?mode=ro", uri=True)
    try:
        found = connection.execute("SELECT status_code, COUNT(*) FROM usage_events WHERE final GROUP BY 1").fetchall()
    finally:
        connection.close()
    return {str(status): count for status, count in found}
