"""Kimi: accounts, messages as it takes them, quota, and its device flow."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from cpa.catalog.builtin import builtin_models
from cpa.errors import OAuthError
from cpa_kimi import KimiProvider
from cpa_kimi.messages import NO_REASONING, mended
from cpa_kimi.oauth import KimiEndpoints, device_headers, poll_device_login, refresh
from cpa_kimi.quota import from_usages

NOW = 1_800_000_000.0
DATA = {"type": "kimi", "access_token": "at", "refresh_token": "rt", "device_id": "d-1", "expired": NOW}


def call(identity: str) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_a_login_offers_the_catalogue_under_the_names_kimi_knows() -> None:
    provider = KimiProvider()
    (account,) = provider.accounts_from_file("/auth/k.json", DATA) or []
    assert (account.provider, account.settings["device_id"]) == ("kimi", "d-1")
    assert provider.refresh_at(account) == NOW - 300
    models = {model.id: model.upstream for model in provider.models(account, builtin_models)}
    assert models["kimi-k2-thinking"] == "k2-thinking"
    assert provider.format_for(account, "generate", "claude") == "claude"
    assert provider.format_for(account, "generate", "gemini") == "openai"
    assert provider.format_for(account, "count", "openai") == "claude"


def test_messages_that_need_nothing_stay_the_same_object() -> None:
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert mended(messages) is messages


def test_empty_assistant_messages_vanish_and_lonely_tool_answers_get_the_open_id() -> None:
    messages = [
        {"role": "assistant", "content": "  "},
        {"role": "assistant", "content": None, "tool_calls": [call("c1")]},
        {"role": "tool", "content": "done"},
        {"role": "tool", "content": "twice"},
    ]
    first, second, third = mended(messages)
    assert first["reasoning_content"] == NO_REASONING
    assert second["tool_call_id"] == "c1"
    assert "tool_call_id" not in third


def test_tool_calls_carry_the_latest_reasoning_or_their_own_text() -> None:
    messages = [
        {"role": "assistant", "content": "a", "tool_calls": [call("c1")]},
        {"role": "tool", "tool_call_id": "c1", "content": "x"},
        {"role": "assistant", "reasoning_content": "why", "tool_calls": [call("c2")]},
        {"role": "tool", "call_id": "c2", "content": "y"},
        {"role": "assistant", "content": "b", "tool_calls": [call("c3"), call("c4")]},
        {"role": "tool", "content": "which?"},
    ]
    fixed = mended(messages)
    assert [message.get("reasoning_content") for message in fixed if message["role"] == "assistant"] == [
        "a",
        "why",
        "why",
    ]
    assert fixed[3]["tool_call_id"] == "c2"
    assert "tool_call_id" not in fixed[5]


def test_usages_are_windows_with_numbers_as_text_and_used_worked_out() -> None:
    answer = {
        "usage": {"limit": "100", "remaining": "25", "resetTime": "2027-01-15T08:00:00Z"},
        "limits": [
            {
                "window": {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"},
                "detail": {"limit": "100", "used": "92", "remaining": "8"},
            },
            {"window": None, "detail": {"limit": 0, "used": 1}},
        ],
    }
    week, hours = from_usages(answer, NOW)
    assert (week.name, week.used_ratio, week.resets_at) == ("seven_day", 0.75, NOW)
    assert (hours.name, hours.used_ratio, hours.limit_seconds) == ("five_hour", 0.92, 18000.0)


def test_the_device_is_named_in_ascii() -> None:
    headers = device_headers("d-1")
    assert headers["X-Msh-Platform"] == "cpa"
    assert all(value.isascii() and value.isprintable() for value in headers.values())


class Answering:
    """An HTTP client that gives one answer."""

    def __init__(self, status: int, **body: Any) -> None:
        self.answer = (status, {}, orjson.dumps(body))
        self.asked = 0

    async def request(self, method: str, url: str, **options: Any) -> Any:
        self.asked += 1
        return self.answer


@pytest.mark.parametrize("code", ["authorization_pending", "slow_down", "expired_token", "access_denied"])
async def test_errors_in_answers_with_status_200_are_errors(code: str) -> None:
    http = Answering(200, error=code)
    with pytest.raises(OAuthError) as refused:
        await poll_device_login(KimiEndpoints(), http, device_code="x", device_id="d")
    assert refused.value.code == code
    assert http.asked == 1


@pytest.mark.parametrize("status", [401, 403])
async def test_a_rejected_refresh_token_is_over(status: int) -> None:
    with pytest.raises(OAuthError) as refused:
        await refresh(KimiEndpoints(), Answering(status), refresh_token="x", device_id="d")
    assert refused.value.terminal
