"""The three collectors that people run beside the daemon find what they look for, with their own calls."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis
import redis.asyncio

from cpa.config.client_keys import key_id
from tests.management.conftest import KEY, Managed, Start
from tests.management.test_resp_hardening import self_signed

CLIENT = "client-key-of-a-tool"
CONFIG = """usage-statistics-enabled: true
api-keys: [client-key-of-a-tool]
claude-api-key:
  - {api-key: sk-upstream, base-url: "http://127.0.0.1:9", models: [{name: up, alias: dead}]}
"""


@pytest.fixture
async def daemon(start: Start) -> Managed:
    managed: Managed = await start(CONFIG)
    return managed


def client(daemon: Managed, **options: Any) -> redis.asyncio.Redis:
    host, port = daemon.url.removeprefix("http://").split(":")
    return redis.asyncio.Redis(host=host, port=int(port), password=KEY, protocol=2, **options)


async def ask(daemon: Managed, model: str = "demo", **more: Any) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    headers = {"Authorization": f"Bearer {CLIENT}", "User-Agent": "tool/1.0", "X-Forwarded-For": "203.0.113.9"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{daemon.url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        await answer.read()
        return answer.status


async def test_usage_dashboard_pops_a_hundred_and_sums_by_account(daemon: Managed) -> None:
    """cliproxyapi-usage-dashboard: ``LPOP usage 100`` every two seconds; one row per request id."""
    for _ in range(3):
        assert await ask(daemon) == 200
    assert await ask(daemon, "dead") == 502
    async with client(daemon) as collector:
        items = [json.loads(item) for item in await collector.lpop("usage", 100)]
        assert await collector.lpop("usage", 100) in ([], None)
    assert len({item["request_id"] or sha256(json.dumps(item).encode()).hexdigest() for item in items}) == 4
    accounts: dict[str, list[int]] = {}
    for item in items:
        row = accounts.setdefault(item["source"] or item["auth_index"], [0, 0, 0])
        row[0] += 1
        row[1] += item["failed"]
        row[2] += item["tokens"]["total_tokens"]
        tokens = item["tokens"]
        assert tokens["total_tokens"] == tokens["input_tokens"] + tokens["output_tokens"]
        assert item["timestamp"].endswith("Z")
        assert isinstance(item["model"], str)
    assert accounts["demo"][:2] == [3, 0]
    assert accounts["demo"][2] > 0
    assert [row[:2] for source, row in accounts.items() if source != "demo"] == [[1, 1]]
    assert all(CLIENT not in json.dumps(item) and "sk-upstream" not in json.dumps(item) for item in items)
    assert (await daemon.call("GET", "/auth-files")).status == 200


async def test_cpa_manager_pops_over_http_or_resp_and_tells_attempts_apart(daemon: Managed) -> None:
    """CPA-Manager's usage service: a hundred every half second, told apart by a hash over these fields."""
    await ask(daemon)
    await ask(daemon, "dead")
    first = (await daemon.call("GET", "/usage-queue?count=100")).json
    await ask(daemon)
    async with client(daemon) as collector:
        second = [json.loads(item) for item in await collector.rpop("queue", 100)]
    seen = set()
    for item in [*first, *second]:
        tokens = item["tokens"]
        fields = (
            item["request_id"],
            item["timestamp"],
            item["endpoint"],
            item["model"],
            item["auth_index"],
            sha256(item["source"].encode()).hexdigest(),
            *(tokens[f"{kind}_tokens"] for kind in ("input", "output", "reasoning", "cached", "total")),
            item["failed"],
            item["latency_ms"],
        )
        seen.add(json.dumps(fields))
        assert item["endpoint"] == "POST /v1/chat/completions"
        assert item["alias"] in ("demo", "dead")
        assert item["auth_type"] in ("apikey", "none")
    assert len(seen) == 3
    assert [item["fail"]["status_code"] for item in first] == [200, 502]
    assert first[1]["fail"]["body"]


WAYS = {
    "as it comes": {},
    "with a user": {"username": "default", "decode_responses": True},
    "with a name and checks": {"client_name": "collector", "health_check_interval": 1, "db": 1},
    "with the older protocol": {"protocol": 2, "socket_keepalive": True},
    "with the newer protocol": {"protocol": 3},
}
"""How collectors make their client."""


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_a_client_that_blocks_pops_what_was_asked_on_the_same_port(
    start: Start, tmp_path: Path, way: str, encrypted: bool
) -> None:
    """cliproxyapi-usage-dashboard: redis-py in a thread of its own, ``LPOP`` of a hundred again and again."""
    tls = encrypted_by(tmp_path) if encrypted else ""
    daemon: Managed = await start(CONFIG + tls)
    host, _, port = daemon.daemon.addresses[0].rpartition(":")
    options: dict[str, Any] = dict(WAYS[way])
    if encrypted:
        options |= {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    stopped = threading.Event()

    def collect() -> list[str]:
        found: list[str] = []
        with redis.Redis(host=host, port=int(port), password=KEY, socket_timeout=5, **options) as collector:
            while not (stopped.is_set() and collector.llen("usage") == 0):
                items: Any = collector.lpop("usage", 100)
                found += [json.loads(item)["request_id"] for item in items or ()]
                stopped.wait(0.02)
        return found

    collecting = asyncio.create_task(asyncio.to_thread(collect))
    origin = f"https://{host}:{port}" if encrypted else daemon.url
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    asked = []
    for _ in range(12):
        url = f"{origin}/v1/chat/completions"
        headers = {"Authorization": f"Bearer {CLIENT}"}
        async with daemon.session.post(url, json=body, headers=headers, ssl=False) as answer:
            assert answer.status == 200
            asked.append(answer.headers["X-Request-Id"])
    stopped.set()
    assert await asyncio.wait_for(collecting, 10) == asked


@pytest.mark.parametrize("encrypted", [False, True])
async def test_all_three_side_by_side_lose_nothing_and_get_nothing_twice(
    start: Start, tmp_path: Path, encrypted: bool
) -> None:
    """One listens, one pops over the Redis protocol, one over HTTP: what is popped is shared, what is heard is all."""
    daemon: Managed = await start(CONFIG + (encrypted_by(tmp_path) if encrypted else ""))
    host, _, port = daemon.daemon.addresses[0].rpartition(":")
    origin = f"https://{host}:{port}" if encrypted else daemon.url
    options: dict[str, Any] = {"password": KEY, "protocol": 2}
    if encrypted:
        options |= {"ssl": True, "ssl_cert_reqs": "none", "ssl_check_hostname": False}
    asked, popped, heard = [], [], []
    async with (
        redis.asyncio.Redis(host=host, port=int(port), **options) as popping,
        redis.asyncio.Redis(host=host, port=int(port), **options) as subscribing,
        subscribing.pubsub() as channel,
    ):
        await popping.lpop("usage", 100)
        await channel.subscribe("usage")
        for number in range(12):
            body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
            headers = {"Authorization": f"Bearer {CLIENT}"}
            url = f"{origin}/v1/chat/completions"
            async with daemon.session.post(url, json=body, headers=headers, ssl=False) as answer:
                asked.append(answer.headers["X-Request-Id"])
            if number % 4 == 1:
                popped += [json.loads(item) for item in await popping.rpop("queue", 100) or ()]
            if number % 4 == 3:
                url, key = f"{origin}/v0/management/usage-queue?count=100", {"Authorization": f"Bearer {KEY}"}
                async with daemon.session.get(url, headers=key, ssl=False) as answer:
                    popped += await answer.json()
        async with asyncio.timeout(5):
            while len(heard) < len(asked):
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=1)
                if message is not None and b"request_id" in message["data"]:
                    heard.append(json.loads(message["data"])["request_id"])
    assert [item["request_id"] for item in popped] == asked
    assert heard == asked


def encrypted_by(folder: Path) -> str:
    """Settings for TLS with a certificate of its own."""
    certificate, key = self_signed(folder)
    return f"tls: {{enable: true, cert: {certificate}, key: {key}}}\n"


async def listen(daemon: Managed, channel: str) -> AsyncIterator[dict[str, Any]]:
    async with client(daemon) as collector, collector.pubsub() as listening:
        await listening.subscribe(channel)
        async for message in listening.listen():
            yield message


async def data(messages: AsyncIterator[dict[str, Any]]) -> dict[str, Any]:
    """The next payload on a channel."""
    async with asyncio.timeout(5):
        async for message in messages:
            if message["type"] == "message":
                parsed: dict[str, Any] = json.loads(message["data"])
                return parsed
    raise AssertionError("the channel was closed")


async def test_usage_keeper_listens_to_usage_and_errors_and_reads_its_columns(daemon: Managed) -> None:
    """CPA Usage Keeper: both channels, latency and first token, who asked, which effort and tier."""
    usage, errors = listen(daemon, "usage"), listen(daemon, "errors")
    assert await data(usage) == {"support_refresh": True}
    failure = asyncio.ensure_future(data(errors))
    while not daemon.daemon.usage_queue.errors:
        await asyncio.sleep(0.01)
    assert await ask(daemon, stream=True, reasoning_effort="high", service_tier="flex") == 200
    item = await data(usage)
    assert item["ttft_ms"] <= item["latency_ms"]
    assert (item["reasoning_effort"], item["service_tier"]) == ("high", "flex")
    assert (item["user_agent"], item["client_ip"]) == ("tool/1.0", "127.0.0.1")
    assert item["x_forwarded_for"] == "203.0.113.9"
    assert item["api_key"] == key_id(CLIENT)
    assert item["accounting_version"] == 2
    parts = item["token_breakdown"]
    assert parts["total_tokens"] == parts["input"]["total_tokens"] + parts["output"]["total_tokens"]
    assert parts["input"]["total_tokens"] == sum(
        parts["input"][f"{kind}_tokens"] for kind in ("uncached", "cache_read", "cache_write")
    )
    assert await ask(daemon, "dead") == 502
    assert (await data(usage))["failed"] is True
    told = await failure
    assert (told["provider"], told["model"], told["status_code"]) == ("claude", "up", 502)
    assert told["auth_index"]
    assert told["body"]
    assert told["retryable"] is True
    standing = told["auth_status"]
    assert (standing["status"], standing["unavailable"], standing["disabled"]) == ("error", True, False)
    assert standing["next_retry_after"].endswith("Z")
    for messages in (usage, errors):
        await messages.aclose()  # type: ignore[attr-defined]


async def test_usage_keeper_hears_once_that_it_should_look_again(daemon: Managed) -> None:
    usage = listen(daemon, "usage")
    await data(usage)
    daemon.edit(daemon.file + "debug: true\n")
    daemon.edit(daemon.file + "request-retry: 1\n")
    assert await data(usage) == {"refresh": True}
    assert await ask(daemon) == 200
    assert "timestamp" in await data(usage)
    await usage.aclose()  # type: ignore[attr-defined]


async def test_client_keys_themselves_are_told_to_whoever_asks_for_them(start: Start) -> None:
    daemon: Managed = await start(CONFIG + "usage-queue-client-keys: true\n")
    await ask(daemon)
    assert (await daemon.call("GET", "/usage-queue")).json[0]["api_key"] == CLIENT


@pytest.mark.parametrize("more", [{"reasoning_effort": 7}, {"service_tier": {}}, {"reasoning_effort": "x" * 10_000}])
async def test_odd_requests_keep_nobody_from_being_told(daemon: Managed, more: dict[str, Any]) -> None:
    await ask(daemon, **more)
    (item,) = (await daemon.call("GET", "/usage-queue?count=100")).json
    assert len(item["reasoning_effort"]) <= 512
    assert item["service_tier"] == "auto"


async def test_an_odd_gemini_request_is_told_too(daemon: Managed) -> None:
    url = f"{daemon.url}/v1beta/models/demo:generateContent"
    body = {"generationConfig": "none", "contents": []}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=body, headers={"X-Api-Key": CLIENT}) as answer,
    ):
        assert answer.status == 400
    (item,) = (await daemon.call("GET", "/usage-queue?count=100")).json
    assert (item["failed"], item["fail"]["status_code"], item["reasoning_effort"]) == (True, 400, "")
