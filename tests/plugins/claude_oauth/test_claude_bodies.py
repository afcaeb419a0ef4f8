"""What a Claude upstream is sent: flags that the body needs, bodies that operators have changed, counts."""

from __future__ import annotations

from typing import Any

import pytest
from multidict import CIMultiDict

from cpa.accounts.account import Account
from cpa.config import Config
from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.errors import UpstreamError
from cpa.formats.claude import ClaudeCodec
from cpa.formats.codec import Target
from cpa.plugins import UpstreamRequest
from cpa_claude import BASE_URL, REQUEST_ID, ClaudeProvider
from cpa_claude.quota import from_headers

TOOL = {"name": "f", "input_schema": {"type": "object"}}
HOUR = {"type": "ephemeral", "ttl": "1h"}
SHORT = {"type": "ephemeral"}


def prepared(
    body: dict[str, Any], *, edited: bool = False, base_url: str = BASE_URL, login: bool = False, **client: str
) -> UpstreamRequest:
    kind: Any = "oauth" if login else "apikey"
    request = UpstreamRequest(
        account=Account(id="a", provider="claude", kind=kind, secret="k", base_url=base_url),
        model="m",
        body=body,
        operation="generate",
        stream=False,
        client_format="claude",
        client_headers=CIMultiDict({name.replace("_", "-"): value for name, value in client.items()}),
        config=Config(),
        edited=edited,
    )
    ClaudeProvider().prepare(request)
    return request


def flags(body: dict[str, Any], **more: Any) -> list[str]:
    return [flag for flag in prepared(body, **more).headers.get("anthropic-beta", "").split(",") if flag]


@pytest.mark.parametrize(
    ("body", "flag"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": [TOOL]}, "interleaved-thinking-2025-05-14"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "structured-outputs-2025-12-15"),
        ({"output_format": {"type": "json_schema"}}, "structured-outputs-2025-12-15"),
        ({"context_management": {"edits": []}}, "context-management-2025-06-27"),
        ({"speed": "fast"}, "fast-mode-2026-02-01"),
        ({"system": [{"type": "text", "text": "s", "cache_control": HOUR}]}, "extended-cache-ttl-2025-04-11"),
        ({"tools": [{**TOOL, "cache_control": HOUR}]}, "extended-cache-ttl-2025-04-11"),
        ({"messages": [{"role": "user", "content": [{"cache_control": HOUR}]}]}, "extended-cache-ttl-2025-04-11"),
    ],
)
def test_a_body_brings_the_flag_it_needs(body: dict[str, Any], flag: str) -> None:
    assert flags(body) == [flag]
    assert flags(body, login=True) == ["oauth-2025-04-20", flag]
    family = flag.rsplit("-", 3)[0]
    assert flags(body, Anthropic_Beta=f"{family}-2030-01-01") == [f"{family}-2030-01-01"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"thinking": {"type": "enabled"}},
        {"thinking": {"type": "disabled"}, "tools": [TOOL]},
        {"output_config": {"effort": "high"}, "speed": "standard"},
        {"system": "s", "messages": [{"role": "user", "content": [{"cache_control": SHORT}, 5]}, "odd"], "tools": 5},
    ],
)
def test_a_body_that_needs_none_brings_none(body: dict[str, Any]) -> None:
    assert flags(body) == []


def test_the_clients_id_of_a_request_is_for_the_vendor_only() -> None:
    assert prepared({}, X_Client_Request_Id="r").headers[REQUEST_ID] == "r"
    assert REQUEST_ID not in prepared({}, base_url="https://c.example", X_Client_Request_Id="r").headers


def test_what_operators_change_stays_within_the_rules() -> None:
    marked = [{"type": "text", "text": str(number), "cache_control": SHORT} for number in range(6)]
    body = {
        "betas": ["b-1"],
        "tool_choice": {"type": "any"},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "system": marked,
    }
    request = prepared(body, edited=True)
    assert set(request.body) == {"tool_choice", "system"}
    assert sum("cache_control" in block for block in request.body["system"]) == 4
    assert request.headers["anthropic-beta"] == "b-1"
    assert prepared(body).body is body, "nothing is looked through when nothing was changed"


def test_the_counting_endpoint_gets_what_it_takes() -> None:
    body = {
        "model": "alias",
        "max_tokens": 5,
        "stream": True,
        "metadata": {"user_id": "u"},
        "temperature": 0.5,
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [TOOL],
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    }
    target = Target("m", "claude", operation="count")
    adapted = ClaudeCodec().adapt_native(body, target, KEEP).body
    kept = {name: body[name] for name in ("messages", "tools", "thinking")}
    assert adapted == {"model": "m", **kept}
    off = ClaudeCodec().adapt_native(body, target, ResolvedReasoning("off")).body
    assert off["thinking"] == {"type": "disabled"}


def test_a_tool_that_is_loaded_later_bears_no_cache_mark() -> None:
    later = {**TOOL, "name": "later", "defer_loading": True}
    body = {"messages": [{"role": "user", "content": "hi"}], "tools": [TOOL, later], "max_tokens": 5}
    adapted = ClaudeCodec().adapt_native(body, Target("m", "claude"), KEEP).body
    assert adapted["tools"] == [{**TOOL, "cache_control": SHORT}, later]


def judged(status: int, body: bytes, **headers: str) -> UpstreamError:
    found = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return ClaudeProvider().read_error(status, found, body, ClaudeCodec().decode_error(status, body))


def test_an_overload_rests_as_long_as_it_says_else_a_minute() -> None:
    body = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'
    assert (judged(529, body).cooldown, judged(529, body).reason) == (60.0, "transient")
    assert judged(529, body, Retry_After="7").cooldown == 7.0


def test_a_key_rests_until_the_limit_that_is_used_up_starts_anew() -> None:
    prefix = "anthropic_ratelimit"
    told = {
        f"{prefix}_requests_remaining": "0",
        f"{prefix}_requests_reset": "2026-01-05T12:00:30Z",
        f"{prefix}_tokens_remaining": "5",
        f"{prefix}_tokens_reset": "2026-01-05T13:00:00Z",
        "Date": "Mon, 05 Jan 2026 12:00:00 GMT",
    }
    assert (judged(429, b"{}", **told).cooldown, judged(429, b"{}", **told).scope) == (30.0, "model")
    assert judged(429, b"{}", **told, Retry_After="7").cooldown == 7.0


@pytest.mark.parametrize("number", ["nan", "inf", "1e999"])
def test_numbers_that_are_none_tell_no_window(number: str) -> None:
    told = CIMultiDict(
        {
            "anthropic-ratelimit-unified-5h-utilization": number,
            "anthropic-ratelimit-requests-limit": number,
            "anthropic-ratelimit-requests-remaining": number,
        }
    )
    assert from_headers(told, 0.0) == []


def test_fast_mode_without_credit_is_nobody_elses_business() -> None:
    body = b'{"error":{"type":"rate_limit_error","message":"Fast mode needs usage credits"}}'
    found = judged(429, body, Retry_After="7")
    assert (found.scope, found.retryable, found.cooldown) == ("request", False, 0)
