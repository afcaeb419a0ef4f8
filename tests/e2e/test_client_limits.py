"""Limits of client keys as clients of every format meet them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

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
  - {{key: narrow, models: [other]}}
  - {{key: poor, budget-per-day: 0.5}}
"""


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    async with Daemon(ConfigStore(path, {}), {}) as running:
        yield running


REQUESTS = {
    "openai": ("/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}),
    "openai-response": ("/v1/responses", {"model": "demo", "input": "hi"}),
    "claude": (
        "/v1/messages",
        {"model": "demo", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    ),
    "gemini": ("/v1beta/models/demo:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}


async def ask(daemon: Daemon, key: str, name: str = "openai") -> tuple[int, dict[str, str], str]:
    path, body = REQUESTS[name]
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{daemon.addresses[0]}{path}", json=body, headers={"X-Api-Key": key}) as answer,
    ):
        return answer.status, dict(answer.headers), await answer.text()


@pytest.mark.parametrize("name", REQUESTS)
async def test_too_many_requests_are_told_in_the_clients_format(daemon: Daemon, name: str) -> None:
    assert (await ask(daemon, "slow", name))[0] == 200
    status, headers, text = await ask(daemon, "slow", name)
    assert status == 429
    assert 1 <= int(headers["Retry-After"]) <= 60
    expected = {"claude": '"type":"rate_limit_error"', "gemini": '"status":"RESOURCE_EXHAUSTED"'}
    assert expected.get(name, '"code":"rate_limit_exceeded"') in text
    assert (await ask(daemon, "plain", name))[0] == 200


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_model_that_is_not_for_the_key_is_forbidden_and_not_shown(daemon: Daemon, name: str) -> None:
    status, _, text = await ask(daemon, "narrow", name)
    assert status == 403
    assert "may not ask for model demo" in text
    async with aiohttp.ClientSession() as session:
        url = f"http://{daemon.addresses[0]}/v1/models"
        async with session.get(url, headers={"X-Api-Key": "narrow"}) as answer:
            assert (await answer.json())["data"] == []
        async with session.get(f"{url}/demo", headers={"X-Api-Key": "narrow"}) as answer:
            assert answer.status == 404
        async with session.get(url, headers={"X-Api-Key": "plain"}) as answer:
            assert (await answer.json())["data"] != []


async def test_a_budget_is_spent_and_stays_spent_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        assert (await ask(daemon, "poor"))[0] == 200
        status, headers, text = await ask(daemon, "poor")
        assert status == 429
        assert "budget of 0.5 USD per day" in text
        assert int(headers["Retry-After"]) > 0
    async with Daemon(ConfigStore(path, {}), {}) as again:
        assert (await ask(again, "poor"))[0] == 429
