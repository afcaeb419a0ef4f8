"""What client keys may use and have used, over the management API."""

from __future__ import annotations

from typing import Any

import aiohttp

from cpa.config.client_keys import key_id
from tests.management.conftest import Managed, Start

KEYS = """
prices: [{model: demo, input: 1000000, output: 0}]
api-keys:
  - plain-key-without-limits
  - {key: a-long-key-of-an-agent, name: agent, models: ["demo*"], requests-per-minute: 2, budget-per-day: 1000}
  - {key: only-a-name-for-this-one, name: laptop}
"""
AGENT = "a-long-key-of-an-agent"


async def use(managed: Managed, key: str = AGENT) -> int:
    url = f"http://{managed.daemon.addresses[0]}/v1/chat/completions"
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers={"X-Api-Key": key}) as answer:
        return answer.status


async def shown(managed: Managed) -> dict[str, Any]:
    answer = await managed.call("GET", "/api-key-limits")
    assert answer.status == 200
    return {entry["name"]: entry for entry in answer.json["keys"]}


async def test_limits_are_shown_with_what_is_used_and_without_the_key(start: Start) -> None:
    managed = await start(KEYS)
    assert await use(managed) == 200
    entries = await shown(managed)
    assert set(entries) == {"agent", "laptop"}
    agent = entries["agent"]
    assert agent["id"] == key_id(AGENT)
    assert agent["key"] == "a-lo...gent"
    assert agent["limits"]["models"] == ["demo*"]
    assert agent["limits"]["requests-per-minute"] == 2
    assert agent["used"]["requests_last_minute"] == 1
    assert agent["used"]["cost_today_usd"] == agent["used"]["cost_this_month_usd"] > 1
    assert (agent["used"]["running"], agent["expired"], agent["limited"]) == (0, False, True)
    assert entries["laptop"]["limited"] is False
    assert set(entries["laptop"]["used"].values()) == {None}, "nothing is counted of a key without limits"
    answer = await managed.call("GET", "/api-key-limits")
    assert AGENT not in str(answer.json)


async def test_requests_that_are_not_counted_are_not_said_to_be_none(start: Start) -> None:
    managed = await start(f"api-keys: [{{key: {AGENT}, name: agent, concurrency: 2}}]")
    assert await use(managed) == 200
    used = (await shown(managed))["agent"]["used"]
    assert used["requests_last_minute"] is None
    assert used["tokens_last_minute"] > 0


async def test_a_key_can_begin_anew(start: Start) -> None:
    managed = await start(KEYS)
    assert [await use(managed) for _ in range(3)] == [200, 200, 429]
    assert (await managed.call("POST", "/api-key-limits/reset", {"id": key_id(AGENT)})).status == 200
    assert (await shown(managed))["agent"]["used"]["cost_today_usd"] == 0
    assert await use(managed) == 200
    assert (await managed.call("POST", "/api-key-limits/reset", {"id": "key-nobody"})).status == 404
    assert (await managed.call("POST", "/api-key-limits/reset", {})).status == 400


async def test_limits_can_be_set_while_it_runs(start: Start) -> None:
    managed = await start(KEYS)
    limited = {"key": "plain-key-without-limits", "name": "guest", "requests-per-minute": 1}
    assert (await managed.call("PATCH", "/api-keys", {"index": 0, "value": limited})).status == 200
    assert (await managed.call("GET", "/api-keys")).json["api-keys"][0] == "plain-key-without-limits"
    assert (await shown(managed))["guest"]["limits"]["requests-per-minute"] == 1
    assert [await use(managed, "plain-key-without-limits") for _ in range(2)] == [200, 429]
    assert (await managed.call("PATCH", "/api-keys", {"index": 0, "value": 7})).status == 400
    wrong = {"key": "plain-key-without-limits", "concurrency": "many"}
    assert (await managed.call("PATCH", "/api-keys", {"index": 0, "value": wrong})).status == 400
