"""Vendors are asked for quota seldom, with a token that works, and their troubles are nobody's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from renewing import IdentityProvider, Renewing, auth_file, serve

from cpa.exchange.quota_query import QuotaQueries

USAGE: dict[str, Any] = {"five_hour": {"utilization": 40, "resets_at": "2099-01-01T00:00:00Z"}}


class Vendor:
    """A usage endpoint that takes good tokens; ``statuses`` come first."""

    def __init__(self, provider: IdentityProvider) -> None:
        self.provider = provider
        self.asked: list[str] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        provider.app.router.add_get("/usage", self._answer)

    async def _answer(self, request: web.Request) -> web.Response:
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.asked.append(token)
        if self.statuses:
            return web.json_response({}, status=self.statuses.pop(0), headers=self.headers)
        if self.provider.find(token) is None:
            return web.json_response({}, status=401)
        assert request.headers["anthropic-beta"] == "oauth-2025-04-20"
        return web.json_response(USAGE)


class World:
    def __init__(self, renewing: Renewing, vendor: Vendor) -> None:
        self.renewing = renewing
        self.vendor = vendor
        self.passed = 0.0
        self.queries = QuotaQueries(
            pool=renewing.pool,
            plugins=renewing.plugins,
            renewals=renewing.renewals,
            http=renewing.client,
            log=structlog.get_logger(),
            wall=lambda: 1_800_000_000.0 + self.passed,
        )


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    provider = IdentityProvider()
    vendor = Vendor(provider)
    runner, url = await serve(provider)
    renewing = Renewing(tmp_path / "auth", url)
    claude = next(one for one in renewing.plugins.providers if one.name == "claude")
    claude.endpoints = type(claude.endpoints)(token_url=f"{url}/token/claude", usage_url=f"{url}/usage")  # type: ignore[attr-defined]
    renewing.write("u.json", auth_file(provider.login("claude", "u")))
    await renewing.files.load()
    yield World(renewing, vendor)
    await renewing.close()
    await runner.cleanup()


async def test_what_the_vendor_tells_is_known_to_the_pool_and_not_asked_twice(world: World) -> None:
    answers = await asyncio.gather(*(world.queries.ask("u.json") for _ in range(5)))
    assert len(world.vendor.asked) == 1
    assert all(answer is not None and answer.windows for answer in answers)
    (window,) = world.renewing.pool.quota("u.json")
    assert (window.name, window.used_ratio, window.source) == ("five_hour", 0.4, "query")
    world.passed = 299
    await world.queries.ask("u.json")
    assert len(world.vendor.asked) == 1
    world.passed = 301
    await world.queries.ask("u.json")
    assert len(world.vendor.asked) == 2


async def test_a_refused_token_is_renewed_once(world: World) -> None:
    world.vendor.provider.end_tokens()
    answer = await world.queries.ask("u.json")
    assert answer is not None
    assert answer.windows
    assert len(world.vendor.asked) == 2
    assert len(world.vendor.provider.calls) == 1


@pytest.mark.parametrize(("status", "wait"), [(403, 4 * 3600), (500, 1200), (429, 900)])
async def test_a_vendor_that_refuses_is_left_alone(status: int, wait: float, world: World) -> None:
    world.vendor.statuses, world.vendor.headers = [status], {"Retry-After": "900"} if status == 429 else {}
    answer = await world.queries.ask("u.json")
    assert answer is not None
    assert answer.windows is None
    assert str(status) in answer.error
    assert world.renewing.pool.usable("u.json", "any")
    world.passed = wait - 1
    assert (await world.queries.ask("u.json")) == answer
    world.passed = wait + 1
    fresh = await world.queries.ask("u.json")
    assert fresh is not None
    assert fresh.windows


async def test_a_disabled_account_is_never_asked_about(world: World) -> None:
    await world.renewing.files.update("u.json", lambda data: {**data, "disabled": True})
    assert await world.queries.ask("u.json") is None
    assert await world.queries.ask("gone.json") is None
    assert world.vendor.asked == []


async def test_accounts_are_asked_about_only_while_it_is_wanted(world: World) -> None:
    idle = asyncio.create_task(world.queries.run(lambda: False))
    await asyncio.sleep(0.05)
    assert world.vendor.asked == []
    wanted = asyncio.create_task(world.queries.run(lambda: True))
    for _ in range(100):
        await asyncio.sleep(0.01)
        if world.renewing.pool.quota("u.json"):
            break
    assert len(world.vendor.asked) == 1
    for task in (idle, wanted):
        task.cancel()
    await asyncio.gather(idle, wanted, return_exceptions=True)


async def test_an_account_that_is_gone_is_forgotten(world: World) -> None:
    await world.queries.ask("u.json")
    assert world.queries.last("u.json") is not None
    world.renewing.pool.remove("u.json")
    running = asyncio.create_task(world.queries.run(lambda: False))
    await asyncio.sleep(0)
    running.cancel()
    assert world.queries.last("u.json") is None
