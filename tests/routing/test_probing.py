"""After a rest one request finds out whether an account works again."""

from __future__ import annotations

import asyncio
import time

import pytest
from world import Script, World


async def started(world: World, requests: int) -> None:
    while len(world.asked) < requests:
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.05)


async def test_one_probes_and_the_others_wait_for_what_it_finds(world: World) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "60"})]
    await world.start("a")
    await world.ask()
    world.ahead += 61
    world.upstream.delay = 0.2
    running = [asyncio.create_task(world.ask()) for _ in range(8)]
    await started(world, 2)
    assert len(world.asked) == 2, "one request is on its way, seven wait"
    assert [answer.status for answer in await asyncio.gather(*running)] == [200] * 8


async def test_when_the_probe_fails_nobody_else_finds_out_for_himself(world: World) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "60"})] * 2
    await world.start("a")
    await world.ask()
    world.ahead += 61
    world.upstream.delay = 0.2
    answers = await asyncio.gather(*(world.ask() for _ in range(8)))
    assert [answer.status for answer in answers] == [429] * 8
    assert len(world.asked) == 2


async def test_others_do_not_wait_where_another_account_is_usable(world: World) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "60"})]
    await world.start(world.account("a", priority=1), "b")
    await world.ask()
    world.ahead += 61
    world.upstream.delay = 0.5
    probe = asyncio.create_task(world.ask())
    await started(world, 3)
    world.upstream.delay = 0.0
    assert (await world.ask()).by == "b"
    assert not probe.done()
    assert (await probe).by == "a"
    assert (await world.ask()).by == "a"


async def test_a_stream_that_begins_to_answer_has_proved_it(world: World) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "60"})]
    await world.start("a")
    await world.ask()
    world.ahead += 61
    world.upstream.hold.clear()
    probe = asyncio.create_task(world.ask(stream=True))
    await started(world, 2)
    begin = time.monotonic()
    assert (await world.ask()).status == 200
    assert time.monotonic() - begin < 15
    world.upstream.hold.set()
    await probe


async def test_a_probe_whose_client_leaves_holds_nobody_back(world: World) -> None:
    world.scripts["a"] = [Script(429, {"Retry-After": "60"})]
    await world.start("a")
    await world.ask()
    world.ahead += 61
    world.upstream.delay = 25.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await world.ask()
    world.upstream.delay = 0.0
    begin = time.monotonic()
    assert (await world.ask()).by == "a"
    assert time.monotonic() - begin < 15
