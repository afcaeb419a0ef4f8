"""Limits of client keys as clients of every format meet them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from running import RunningDaemon, free_port

from cpa.config import ConfigStore
from cpa.daemon import Daemon

CONFIG = """
host: 127.0.0.1
port: 0
auth-dir: {folder}/auth
usage-database-path: {folder}/data/usage.sqlite
prices: [{{model: demo, input: 1000000, output: 0}}]
api-keys:
  - plain
  - {{key: slow, requests-per-minute: 1}}
  - {{key: short, tokens-per-minute: 1}}
  - {{key: narrow, models: [other]}}
  - {{key: poor, budget-per-day: 0.5}}
  - {{key: old, expires: 2020-01-01}}
  - {{key: single, concurrency: 1}}
"""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    async with Daemon(ConfigStore(path, {}), {}) as running:
        yield running


MESSAGES = [{"role": "user", "content": "hi"}]
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"model": "demo", "messages": MESSAGES}),
    "openai-response": ("/v1/responses", {"model": "demo", "input": "hi"}),
    "claude": ("/v1/messages", {"model": "demo", "max_tokens": 9, "messages": MESSAGES}),
    "gemini": ("/v1beta/models/demo:generateContent", CONTENTS),
}


def request(name: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    path, body = REQUESTS[name]
    if not stream:
        return path, body
    if name == "gemini":
        return path.replace(":generateContent", ":streamGenerateContent?alt=sse"), body
    return path, {**body, "stream": True}


async def ask(
    daemon: Daemon, key: str, name: str = "openai", *, stream: bool = False, **more: Any
) -> tuple[int, dict[str, str], str]:
    path, body = request(name, stream=stream)
    async with (
        aiohttp.ClientSession() as session,
        session.post(
            f"http://{daemon.addresses[0]}{path}", json={**body, **more}, headers={"X-Api-Key": key}
        ) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.text()


def shown_error(name: str, text: str) -> tuple[str, str]:
    """(kind or code, message) of an error body, which must have its format's shape."""
    body = json.loads(text)
    error = body["error"]
    if name == "claude":
        assert body["type"] == "error"
        return error["type"], error["message"]
    return error["status"] if name == "gemini" else error["code"], error["message"]


LIMITS = {"slow": "1 time per minute", "short": "1 token per minute", "poor": "budget of 0.5 USD per day"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("key", LIMITS)
async def test_a_limit_is_told_in_the_clients_format(daemon: Daemon, key: str, name: str, stream: bool) -> None:
    assert (await ask(daemon, key, name, stream=stream))[0] == 200
    status, headers, text = await ask(daemon, key, name, stream=stream)
    assert status == 429
    assert 1 <= int(headers["Retry-After"]) <= (60 if key != "poor" else 25 * 3600)
    kind, message = shown_error(name, text)
    expected = {"claude": "rate_limit_error", "gemini": "RESOURCE_EXHAUSTED"}
    assert kind == expected.get(name, "budget_exceeded" if key == "poor" else "rate_limit_exceeded")
    assert LIMITS[key] in message
    assert (await ask(daemon, "plain", name, stream=stream))[0] == 200


FORBIDDEN = {"narrow": "may not ask for model demo", "old": "this key expired on 2020-01-01"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("key", FORBIDDEN)
async def test_what_a_key_may_not_do_is_told_in_the_clients_format(
    daemon: Daemon, key: str, name: str, stream: bool
) -> None:
    status, headers, text = await ask(daemon, key, name, stream=stream)
    assert status == 403
    assert "Retry-After" not in headers
    kind, message = shown_error(name, text)
    expected = {"claude": "permission_error", "gemini": "PERMISSION_DENIED"}
    assert kind == expected.get(name, "model_not_allowed" if key == "narrow" else "key_expired")
    assert FORBIDDEN[key] in message


@pytest.mark.parametrize("path", ["/v1/messages/count_tokens", "/v1beta/models/demo:countTokens"])
async def test_counting_tokens_is_no_way_around_but_uses_nothing_up(daemon: Daemon, path: str) -> None:
    body = {"model": "demo", "messages": MESSAGES, **CONTENTS}
    url = f"http://{daemon.addresses[0]}{path}"
    async with aiohttp.ClientSession() as session:
        for key, expected in (("narrow", 403), ("old", 403), ("slow", 200), ("slow", 200)):
            async with session.post(url, json=body, headers={"X-Api-Key": key}) as answer:
                assert answer.status == expected, key
    assert (await ask(daemon, "slow"))[0] == 200


async def test_requests_at_the_same_time_are_bounded_until_the_client_leaves(daemon: Daemon) -> None:
    url = f"http://{daemon.addresses[0]}/v1/chat/completions"
    body = {"model": "demo-slow", "stream": True, "messages": [{"role": "user", "content": "a long text " * 20}]}
    headers = {"X-Api-Key": "single"}
    async with aiohttp.ClientSession() as session:
        running = await session.post(url, json=body, headers=headers)
        await running.content.readany()
        status, answered, text = await ask(daemon, "single")
        assert (status, answered["Retry-After"]) == (429, "1")
        assert "1 request running at the same time" in text
        running.close()
        for _ in range(100):
            if (status := (await ask(daemon, "single"))[0]) == 200:
                break
            await asyncio.sleep(0.02)
        assert status == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/v1/models", {}), ("/v1/models", {"anthropic-version": "2023-06-01"}), ("/v1beta/models", {})],
)
async def test_a_model_that_is_not_for_the_key_is_not_shown(daemon: Daemon, path: str, headers: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as session:
        url = f"http://{daemon.addresses[0]}{path}"
        for key, shown in (("narrow", False), ("plain", True)):
            async with session.get(url, headers={**headers, "X-Api-Key": key}) as answer:
                assert ("demo" in await answer.text()) is shown
            async with session.get(f"{url}/demo", headers={**headers, "X-Api-Key": key}) as answer:
                assert answer.status == (200 if shown else 404)
        async with session.get(url, headers={**headers, "X-Api-Key": "old"}) as answer:
            assert answer.status == 403


async def test_a_reasoning_suffix_opens_no_other_model(daemon: Daemon) -> None:
    for model in ("demo(high)", "demo (other)", " demo", "DEMO", "other/../demo", "demo(other"):
        status, _, _ = await ask(daemon, "narrow", model=model)
        assert status in (403, 404), model


async def test_no_way_to_show_a_key_is_exempt_from_its_budget(daemon: Daemon) -> None:
    path, body = request("openai", stream=False)
    url = f"http://{daemon.addresses[0]}{path}"
    ways: list[tuple[str, dict[str, str]]] = [
        ("", {"Authorization": "Bearer poor"}),
        ("", {"X-Api-Key": "poor"}),
        ("", {"X-Goog-Api-Key": "poor"}),
        ("?key=poor", {}),
        ("?auth_token=poor", {}),
        ("", {"Authorization": "Bearer poor", "X-Api-Key": "plain"}),
    ]
    assert (await ask(daemon, "poor"))[0] == 200
    async with aiohttp.ClientSession() as session:
        for query, headers in ways:
            async with session.post(url + query, json=body, headers=headers) as answer:
                assert answer.status == 429, (query, headers)


async def test_a_budget_is_spent_and_stays_spent_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        assert (await ask(daemon, "poor"))[0] == 200
        assert (await ask(daemon, "poor"))[0] == 429
    async with Daemon(ConfigStore(path, {}), {}) as again:
        assert (await ask(again, "poor"))[0] == 429


async def test_a_budget_stays_spent_when_the_daemon_is_killed(tmp_path: Path) -> None:
    config = {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(tmp_path / "auth"),
        "usage-database-path": str(tmp_path / "data/usage.sqlite"),
        "prices": [{"model": "demo", "input": 1000000, "output": 0}],
        "api-keys": [{"key": "poor", "budget-per-day": 0.5}],
    }
    body = {"model": "demo", "messages": MESSAGES}
    statuses = []
    for _ in range(2):
        running = RunningDaemon(config, tmp_path)
        url, headers = f"{running.url}/v1/chat/completions", {"X-Api-Key": "poor"}
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            statuses.append(answer.status)
        await asyncio.sleep(1.3)
        running.process.kill()
        running.stop()
    assert statuses == [200, 429]
