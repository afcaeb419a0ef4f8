"""How accounts fare, and ending their cooldowns."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from cpa.accounts.quota import QuotaWindow
from tests.management.conftest import Managed, Start

KEYS = """\
claude-api-key:
  - {api-key: sk-one, base-url: 'https://claude.example'}
  - {api-key: sk-one, base-url: 'https://claude.example', proxy-url: 'http://127.0.0.1:1'}
  - {api-key: sk-two, base-url: 'https://claude.example'}
gemini-api-key: [{api-key: AIza}]
openai-compatibility:
  - {name: Local, base-url: 'http://127.0.0.1:9/v1', api-key-entries: [{api-key: k}], models: [{name: m}]}
  - {name: keyless, base-url: 'http://127.0.0.1:8/v1', models: [{name: n}]}
"""


def account_ids(daemon: Managed, provider: str) -> list[str]:
    return [account.id for account in daemon.daemon.pool if account.provider == provider]


def cool(daemon: Managed, account_id: str, scope: Any = "model", model: str = "claude-x") -> None:
    daemon.daemon.pool.fail(account_id, model, scope=scope, reason="quota", seconds=60, message="too much")


async def test_configured_keys_are_counted_by_base_url_and_key(start: Start) -> None:
    daemon: Managed = await start(KEYS)
    first, *others = account_ids(daemon, "claude")
    daemon.daemon.pool.succeed(first, "claude-x")
    for account_id in (first, *others):
        cool(daemon, account_id)
    told = (await daemon.call("GET", "/api-key-usage")).json
    assert set(told) == {"claude", "gemini", "local"}
    assert set(told["gemini"]) == {"|AIza"}
    assert set(told["local"]) == {"http://127.0.0.1:9/v1|k"}
    keys = told["claude"]
    assert {name: (entry["success"], entry["failed"]) for name, entry in keys.items()} == {
        "https://claude.example|sk-one": (1, len(others)),
        "https://claude.example|sk-two": (0, 1),
    }
    buckets = keys["https://claude.example|sk-one"]["recent_requests"]
    assert len(buckets) == 20
    assert set(buckets[0]) == {"time", "success", "failed"}
    assert sum(bucket["success"] + bucket["failed"] for bucket in buckets) == 1 + len(others)


async def test_a_reset_ends_the_cooldowns_of_one_account(start: Start) -> None:
    daemon: Managed = await start(KEYS)
    (index,) = {
        entry["auth-index"]
        for entry in (await daemon.call("GET", "/claude-api-key")).json["claude-api-key"]
        if entry["api-key"] == "sk-two"
    }
    account = next(account for account in daemon.daemon.pool if account.index == index)
    cool(daemon, account.id)
    cool(daemon, account.id, "account")
    assert not daemon.daemon.pool.usable(account.id, "claude-x")
    told = await daemon.call("POST", "/reset-quota", {"auth_index": index})
    assert told.json == {"status": "ok", "auth_index": index, "models": ["claude-x"]}
    assert daemon.daemon.pool.usable(account.id, "claude-x")


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({}, 400, "auth_index is required"),
        ({"auth_index": " "}, 400, "auth_index is required"),
        ({"auth_index": 5}, 400, "auth_index is required"),
        ({"auth_index": "ffffffffffffffff"}, 404, "auth not found"),
        ([], 400, "invalid body"),
    ],
)
async def test_a_reset_needs_an_account(managed: Managed, body: Any, status: int, error: str) -> None:
    answer = await managed.call("POST", "/reset-quota", body)
    assert (answer.status, answer.json) == (status, {"error": error})


async def test_quota_windows_are_shown_by_account(start: Start) -> None:
    daemon: Managed = await start(KEYS)
    assert (await daemon.call("GET", "/quota")).json == {"accounts": []}
    now = time.time()
    window = QuotaWindow(name="five_hour", used_ratio=0.25, resets_at=now + 900, source="headers", seen_at=now)
    account_id = account_ids(daemon, "claude")[0]
    daemon.daemon.pool.note_quota(account_id, [window])
    (shown,) = (await daemon.call("GET", "/quota")).json["accounts"]
    assert (shown["id"], shown["provider"]) == (account_id, "claude")
    assert "sk-one" not in str(shown)
    assert shown["windows"] == [
        {
            "name": "five_hour",
            "used_ratio": 0.25,
            "resets_at": now + 900,
            "limit_seconds": None,
            "source": "headers",
            "seen_at": now,
            "amount": "",
            "plan": "",
        }
    ]
    one = await daemon.call("GET", f"/quota?auth_index={shown['auth_index']}")
    assert one.json == {"accounts": [shown]}
    none = await daemon.call("GET", "/quota?auth_index=ffffffffffffffff")
    assert (none.status, none.json) == (404, {"error": "auth not found"})


async def test_a_configured_key_is_disabled_by_excluding_everything(start: Start) -> None:
    text = """\
claude-api-key:
  # mine
  - api-key: sk-one # first
    base-url: https://claude.example
    excluded-models: [claude-3*]
    unknown: kept
  - api-key: sk-two
"""
    daemon: Managed = await start(text)
    before = daemon.file
    first = account_ids(daemon, "claude")[0]
    index = next(account.index for account in daemon.daemon.pool if account.id == first)
    assert daemon.daemon.catalog.models_of(first)
    told = await daemon.call("PATCH", "/auth-files/status", {"name": first, "disabled": True})
    assert told.json == {
        "status": "ok",
        "disabled": True,
        "via": "config:excluded-models",
        "excluded_pattern": "*",
    }
    assert not daemon.daemon.catalog.models_of(first)
    assert len(daemon.file.splitlines()) - len(before.splitlines()) in (0, 1, 2)
    again = await daemon.call("PATCH", "/auth-files/status", {"name": index, "disabled": True})
    assert again.status == 200
    assert daemon.daemon.store.current.claude_api_key[0].excluded_models == ("claude-3*", "*")
    assert (await daemon.call("PATCH", "/auth-files/status", {"name": index, "disabled": False})).status == 200
    assert daemon.daemon.catalog.models_of(first)
    assert "# mine" in daemon.file
    assert "unknown: kept" in daemon.file
    second = account_ids(daemon, "claude")[1]
    for disabled in (True, False):
        assert (await daemon.call("PATCH", "/auth-files/status", {"name": second, "disabled": disabled})).status == 200
    assert daemon.file == before


async def test_counters_go_on_after_a_restart(start: Start) -> None:
    """Of configured keys and of logins."""
    text = KEYS + "usage-statistics-enabled: true\nrequest-retry: 0\n"
    daemon: Managed = await start(text)
    login = {"type": "claude", "access_token": "t", "email": "a@b.c", "expired": "2099-01-01T00:00:00Z"}
    login |= {"base_url": "http://127.0.0.1:9", "prefix": "login"}
    assert (await daemon.call("POST", "/auth-files?name=a.json", login)).status == 200
    for model in ("m", "login/claude-sonnet-4-5-20250929"):
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
        async with daemon.session.post(f"{daemon.url}/v1/chat/completions", json=body) as answer:
            assert answer.status >= 500
    counted = await counters(daemon)
    assert counted == [(0, 1, 1), (0, 1, 1)]
    await daemon.daemon.stop()
    again: Managed = await start(text)
    async with asyncio.timeout(5):
        while await counters(again) != counted:
            await asyncio.sleep(0.02)


async def counters(daemon: Managed) -> list[tuple[int, int, int]]:
    """Successes, failures, and failures of late, of the local key and of the login."""
    keys = (await daemon.call("GET", "/api-key-usage")).json["local"]["http://127.0.0.1:9/v1|k"]
    (file,) = (await daemon.call("GET", "/auth-files")).json["files"]
    return [
        (each["success"], each["failed"], sum(bucket["failed"] for bucket in each["recent_requests"]))
        for each in (keys, file)
    ]
