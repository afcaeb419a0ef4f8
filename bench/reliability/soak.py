"""Everything at once for a while: memory, descriptors, tasks and threads stay where they are."""

from __future__ import annotations

import asyncio
import random
import time

import aiohttp
import yaml
from msgspec import Struct, field

from bench.reliability.disconnects import _leave
from bench.reliability.stage import Sample, Stage, ask


class Result(Struct):
    """What came of it."""

    seconds: float
    requests: int
    failed: int
    left: int
    """Clients that went away."""
    samples: list[Sample] = field(default_factory=list)
    memory_slope: float = 0.0
    """MB per hour over the second half."""
    lag: dict[str, float] = field(default_factory=dict)
    log_bytes_per_request: float = 0.0
    processors_taken: int = 0


async def run(stage: Stage, seconds: float, workers: int = 12, every: float = 10.0) -> Result:
    """Whole answers, streams, clients that leave and reloads for ``seconds``; a sample ``every`` so many seconds."""
    end = time.monotonic() + seconds
    result = Result(seconds, 0, 0, 0)

    async def asking(session: aiohttp.ClientSession, name: int) -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            result.requests += 1
            result.failed += not await ask(session, stage, f"soak-{name}-{number}", stream=number % 3 != 0)

    async def leaving(name: int) -> None:
        times = random.Random(name)
        number = 0
        while time.monotonic() < end:
            number += 1
            result.left += 1
            await _leave(stage, f"leaving-{name}-{number}", times.uniform(0, 0.2), {})

    async def reloading() -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            stage.config_path.write_text(yaml.safe_dump({**stage.config, "request-retry": number % 3}))
            await asyncio.sleep(5)

    async def sampling() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(every)
            result.samples.append(await stage.sample())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        for name in range(workers):
            group.create_task(asking(session, name))
        for name in range(3):
            group.create_task(leaving(name))
        group.create_task(reloading())
        group.create_task(sampling())
    result.samples.append(await stage.settled())
    result.memory_slope = _slope([sample.memory for sample in result.samples[len(result.samples) // 2 : -1]], every)
    result.lag = await stage.lag()
    result.log_bytes_per_request = stage.log_path.stat().st_size / max(1, result.requests + result.left)
    return result


def _slope(values: list[float], every: float) -> float:
    """Least squares: change per hour of values taken ``every`` so many seconds."""
    count = len(values)
    if count < 2:
        return 0.0
    middle, mean = (count - 1) / 2, sum(values) / count
    over = sum((at - middle) * (value - mean) for at, value in enumerate(values))
    return over / sum((at - middle) ** 2 for at in range(count)) / every * 3600
