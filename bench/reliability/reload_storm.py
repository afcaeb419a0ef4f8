"""The configuration is written again and again, half of the time wrongly, while requests run."""

from __future__ import annotations

import asyncio
import copy
import time

import aiohttp
import yaml
from msgspec import Struct

from bench.reliability.stage import CLIENT, Sample, Stage, ask

WRONG = ("port: [not, a, port]\n", "api-keys: {\n", "openai-compatibility: 7\n", "\tno: yaml\n")


class Result(Struct):
    """What came of it."""

    requests: int
    failed: int
    seconds_to_apply: float
    """From the last write until its model is offered."""
    applied: int
    refused: int
    before: Sample
    after: Sample


async def run(stage: Stage, writes: int, seconds: float, workers: int = 16) -> Result:
    """Write ``writes`` times within ``seconds``, every second time something wrong, the last time something right."""
    await _load(stage, asyncio.Event(), workers, 40)
    before = await stage.settled()
    over = asyncio.Event()
    load = asyncio.create_task(_load(stage, over, workers, None))
    for number in range(writes):
        last = number == writes - 1
        if number % 2 == 0 and not last:
            stage.config_path.write_text(WRONG[number // 2 % len(WRONG)])
        else:
            stage.config_path.write_text(yaml.safe_dump(_with_model(stage, f"model-{number}")))
        if not last:
            await asyncio.sleep(seconds / writes)
    written = time.monotonic()
    while not await _offers(stage, f"model-{writes - 1}"):
        if time.monotonic() - written > 10:
            break
        await asyncio.sleep(0.02)
    took = time.monotonic() - written
    over.set()
    good, bad = await load
    return Result(
        requests=good + bad,
        failed=bad,
        seconds_to_apply=took,
        applied=int(await stage.value("cpa_config_reloads_total", result="success")),
        refused=int(await stage.value("cpa_config_reloads_total", result="failure")),
        before=before,
        after=await stage.settled(),
    )


async def _load(stage: Stage, over: asyncio.Event, workers: int, most: int | None) -> tuple[int, int]:
    """Ask until it is over; how many answers were right and how many were not."""
    counts = {True: 0, False: 0}

    async def worker(session: aiohttp.ClientSession, name: int) -> None:
        number = 0
        while not over.is_set() and (most is None or sum(counts.values()) < most):
            number += 1
            counts[await ask(session, stage, f"w{name}-{number}", stream=number % 2 == 0)] += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, asyncio.TaskGroup() as group:
        for name in range(workers):
            group.create_task(worker(session, name))
    return counts[True], counts[False]


def _with_model(stage: Stage, alias: str) -> dict[str, object]:
    config = copy.deepcopy(stage.config)
    config["openai-compatibility"][0]["models"].append({"name": "model", "alias": alias})
    return config


async def _offers(stage: Stage, alias: str) -> bool:
    async with aiohttp.ClientSession() as session, session.get(f"{stage.url}/v1/models", headers=CLIENT) as answer:
        return alias in await answer.text()
