"""What collectors are told of an attempt, field by field; and that nothing is made of it while nobody is to be told."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from cpa.exchange.headers import MOST_TELLING, telling_headers
from cpa.usage.event import executor_of
from cpa.usage.queue_item import QueueItem, RequestDetails, breakdown
from cpa.usage.tokens import Tokens
from tests.exchange.recording import ASKED, STREAMS, Bench, answered, recording, stream_of
from tests.usage.conftest import event
from tests.usage.vendor_streams import claude, gemini, openai, responses

FIELDS = {
    "timestamp": str,
    "latency_ms": int,
    "ttft_ms": int,
    "source": str,
    "auth_index": str,
    "tokens": dict,
    "accounting_version": int,
    "token_breakdown": dict,
    "failed": bool,
    "fail": dict,
    "provider": str,
    "model": str,
    "alias": str,
    "endpoint": str,
    "auth_type": str,
    "api_key": str,
    "request_id": str,
    "stream": bool,
    "generate": bool,
    "executor_type": str,
    "reasoning_effort": str,
    "service_tier": str,
    "response_service_tier": str,
    "response_headers": dict,
    "client_ip": str,
    "x_forwarded_for": str,
    "user_agent": str,
}
TOKENS = {
    *("input_tokens", "output_tokens", "reasoning_tokens", "cached_tokens", "total_tokens"),
    *("cache_read_tokens", "cache_creation_tokens", "cache_read_tokens_present"),
}


async def asked(bench: Bench, name: str, body: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
    """The item of one streamed request."""
    path, usual = ASKED[name]
    path = path.format(model=name, verb="streamGenerateContent?alt=sse")
    url = f"http://{bench.daemon.addresses[0]}{path}"
    named = {header.replace("_", "-"): value for header, value in headers.items()}
    wanted = {**usual, **({} if name == "gemini" else {"model": name, "stream": True}), **(body or {})}
    async with bench.session.post(url, json=wanted, headers=named) as answer:
        await answer.read()
    (item,) = await bench.items(1)
    return item


@pytest.mark.parametrize("name", ASKED)
async def test_an_item_has_every_field_in_its_kind(bench: Bench, name: str) -> None:
    item = await asked(bench, name, User_Agent="tool/2", X_Forwarded_For="198.51.100.7, 203.0.113.1")
    assert {field: type(value) for field, value in item.items()} == FIELDS
    assert set(item["tokens"]) == TOKENS
    assert (item["client_ip"], item["x_forwarded_for"]) == ("127.0.0.1", "198.51.100.7, 203.0.113.1")
    assert (item["user_agent"], item["stream"], item["generate"]) == ("tool/2", True, True)
    assert item["token_breakdown"]["quality"] == "complete"
    assert (item["model"], item["alias"], item["auth_type"]) == ("up", name, "apikey")


@pytest.mark.parametrize(
    ("name", "executor"),
    [
        ("openai", "OpenAICompatExecutor"),
        ("openai-response", "CodexExecutor"),
        ("claude", "ClaudeExecutor"),
        ("gemini", "GeminiExecutor"),
    ],
)
async def test_the_executor_has_the_name_collectors_know(bench: Bench, name: str, executor: str) -> None:
    assert (await asked(bench, name))["executor_type"] == executor


def test_a_provider_of_a_plugin_is_its_own_executor() -> None:
    assert executor_of("mine", "claude") == "mine"
    assert executor_of("", "openai") == ""


OPENAI = openai({"prompt_tokens": 1, "completion_tokens": 1})
TIERS = {
    "openai": OPENAI.replace(b'"object"', b'"service_tier":"flex","object"'),
    "openai-response": responses({"input_tokens": 1, "output_tokens": 1})
    .replace(b'"status":"in_progress"', b'"status":"in_progress","service_tier":"auto"')
    .replace(b'"status":"completed"', b'"status":"completed","service_tier":"flex"'),
    "claude": claude({"input_tokens": 1, "output_tokens": 1, "service_tier": "flex"}, {"output_tokens": 2}),
    "gemini": gemini({"promptTokenCount": 1, "candidatesTokenCount": 1, "trafficType": "flex"}),
}


@pytest.mark.parametrize("upstream", TIERS)
@pytest.mark.parametrize("name", TIERS)
async def test_the_tier_that_served_is_the_one_the_answer_tells_last(bench: Bench, name: str, upstream: str) -> None:
    """Native and translated. A request is answered in another tier than it asked for when that one is full."""

    async def tiered(request: web.Request, _: str) -> web.StreamResponse:
        return await stream_of(request, TIERS[upstream])

    bench.answer = tiered
    async with bench.ask(name, upstream) as answer:
        await answer.read()
    (item,) = await bench.items(1)
    assert item["response_service_tier"] == "flex"


async def test_gemini_tells_its_tier_in_a_header(bench: Bench) -> None:
    async def tiered(request: web.Request, name: str) -> web.StreamResponse:
        return await stream_of(request, STREAMS[name], X_Gemini_Service_Tier="standard")

    bench.answer = tiered
    item = await asked(bench, "gemini", {"serviceTier": "priority"})
    assert (item["service_tier"], item["response_service_tier"]) == ("priority", "standard")


async def test_claude_in_a_hurry_is_a_tier_of_its_own(bench: Bench) -> None:
    async def hurried(request: web.Request, name: str) -> web.StreamResponse:
        usage = {"input_tokens": 1, "output_tokens": 1, "service_tier": "standard", "speed": "fast"}
        return await stream_of(request, claude(usage, {"output_tokens": 2}))

    bench.answer = hurried
    item = await asked(bench, "claude", {"speed": "fast", "service_tier": "auto"})
    assert (item["service_tier"], item["response_service_tier"]) == ("fast", "fast")


@pytest.mark.parametrize(
    ("name", "tier"), [("openai", "auto"), ("openai-response", "auto"), ("claude", "default"), ("gemini", "default")]
)
async def test_who_asks_for_no_tier_gets_the_usual_one(bench: Bench, name: str, tier: str) -> None:
    item = await asked(bench, name)
    assert (item["service_tier"], item["response_service_tier"]) == (tier, "")


@pytest.mark.parametrize("told", [7, "", "x" * 41, "a\nb", None, {}])
async def test_a_tier_that_is_none_is_not_told(bench: Bench, told: Any) -> None:
    async def odd(request: web.Request, name: str) -> web.StreamResponse:
        return await stream_of(request, OPENAI.replace(b'"object"', b'"service_tier":%b,"object"' % orjson.dumps(told)))

    bench.answer = odd
    assert (await asked(bench, "openai"))["response_service_tier"] == ""


async def test_only_headers_of_rate_limits_and_ids_are_told(bench: Bench) -> None:
    async def headed(request: web.Request, name: str) -> web.StreamResponse:
        return await stream_of(
            request,
            STREAMS[name],
            request_id="req_1",
            anthropic_ratelimit_unified_5h_utilization="0.4",
            Set_Cookie="session=secret-cookie",
            Authorization="Bearer secret-token",
            X_Codex_Turn_State="secret-state",
            Anthropic_Organization_Id="secret-organisation",
        )

    bench.answer = headed
    item = await asked(bench, "claude")
    assert item["response_headers"] == {
        "Request-Id": ["req_1"],
        "Anthropic-Ratelimit-Unified-5H-Utilization": ["0.4"],
    }
    assert "secret" not in str(item)


@pytest.mark.parametrize(
    "name",
    [
        *("retry-after", "Retry-After-Ms", "x-ratelimit-remaining-tokens", "ratelimit-reset", "X-Rate-Limit-Limit"),
        *("anthropic-ratelimit-requests-remaining", "x-codex-primary-used-percent", "x-codex-plan-type", "cf-ray"),
        *("x-codex-extra-secondary-reset-at", "x-codex-credits-balance", "x-request-id", "x-goog-request-id"),
        *("x-gemini-service-tier", "apim-request-id", "x-amzn-RequestId"),
    ],
)
def test_headers_that_are_told(name: str) -> None:
    assert list(telling_headers({name: "1"}).values()) == [["1"]]


@pytest.mark.parametrize(
    "name", ["cookie", "set-cookie", "x-api-key", "authorization", "x-request-id-token", "openai-organization", "via"]
)
def test_headers_that_are_not(name: str) -> None:
    assert telling_headers({name: "1"}) == {}


async def test_a_header_that_repeats_the_accounts_token_is_not_told(tmp_path: Path) -> None:
    async def repeats(request: web.Request, name: str) -> web.StreamResponse:
        told = {"X-Request-Id": f"for {request.headers['Authorization']}", "Retry-After": "7"}
        return await stream_of(request, STREAMS[name], **told)

    login = {"type": "claude", "access_token": "sk-ant-oat-1", "email": "a@b.c", "expired": "2099-01-01T00:00:00Z"}
    async with recording(tmp_path, claude=login) as bench:
        bench.answer = repeats
        item = await asked(bench, "claude", {"model": "claude-sonnet-4-5-20250929"})
        assert item["response_headers"] == {"Retry-After": ["7"]}


def test_endless_headers_are_cut() -> None:
    told = telling_headers({f"x-ratelimit-{n}": "9" * 10_000 for n in range(500)})
    assert len(told) == MOST_TELLING
    assert max(len(value) for values in told.values() for value in values) == 256


async def test_the_digest_of_the_token_is_told_for_logins_only(tmp_path: Path) -> None:
    login = {"type": "claude", "access_token": "sk-ant-oat-1", "email": "a@b.c", "expired": "2099-01-01T00:00:00Z"}
    async with recording(tmp_path, claude=login) as bench:
        item = await asked(bench, "claude", {"model": "claude-sonnet-4-5-20250929"})
        assert item["auth_type"] == "oauth"
        assert item["access_token_sha256"] == sha256(b"sk-ant-oat-1").hexdigest()
        assert "sk-ant-oat-1" not in str(item)
        assert "access_token_sha256" not in await asked(bench, "claude")


async def test_a_request_that_only_prepares_the_next_one_says_so(bench: Bench) -> None:
    assert (await asked(bench, "openai-response", {"generate": False}))["generate"] is False


async def test_a_failure_has_its_status_and_headers(bench: Bench) -> None:
    async def refuses(request: web.Request, name: str) -> web.StreamResponse:
        error = {"error": {"message": "slow down", "type": "rate_limit_error"}}
        return web.json_response(error, status=429, headers={"retry-after": "30", "request-id": "req_2"})

    bench.answer = refuses
    item = await asked(bench, "claude")
    assert (item["failed"], item["fail"]) == (True, {"status_code": 429, "body": "slow down"})
    assert item["response_headers"] == {"Retry-After": ["30"], "Request-Id": ["req_2"]}
    assert item["tokens"]["total_tokens"] == 0


async def test_failures_of_accounts_are_told_as_such_and_a_client_that_left_is_none(bench: Bench) -> None:
    told, begun = bench.daemon.usage_queue.errors.listen(), asyncio.Event()

    async def stalls(request: web.Request, name: str) -> web.StreamResponse:
        begun.set()
        await asyncio.sleep(60)
        return web.Response()

    async def refuses(request: web.Request, name: str) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no", "type": "invalid_request_error"}}, status=400)

    bench.answer = stalls
    leaving = asyncio.ensure_future(bench.ask("claude")._coro)
    await begun.wait()
    leaving.cancel()
    assert (await bench.items(1))[0]["fail"]["status_code"] == 499
    bench.answer = refuses
    assert (await asked(bench, "claude"))["fail"]["status_code"] == 400
    message = orjson.loads(await told.payloads.get() or b"")
    assert (message["status_code"], message["body"], message["retryable"]) == (400, "no", False)
    assert told.payloads.empty()


async def test_a_request_nobody_was_asked_for_is_an_item_too(bench: Bench) -> None:
    item = await asked(bench, "openai", {"model": "nothing"})
    assert (item["provider"], item["executor_type"], item["auth_type"]) == ("unknown", "unknown", "unknown")
    assert (item["failed"], item["response_headers"], item["auth_index"]) == (True, {}, "")


async def test_nothing_is_made_for_collectors_while_the_queue_is_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.daemon.usage_queue.configure(enabled=False, retention=60)
    made: list[Any] = []
    monkeypatch.setattr("cpa.exchange.collectors.RequestDetails", lambda **members: made.append(members))
    bench.answer = answered
    async with bench.ask("openai") as answer:
        await answer.read()
    assert len(await bench.rows(1)) == 1
    assert made == []


def test_the_breakdown_has_every_token_in_one_place() -> None:
    tokens = Tokens(input=100, output=30, reasoning=10, cache_read=30, cache_creation=10, total=130, uncached=60)
    assert breakdown(tokens) == {
        "schema_version": 2,
        "quality": "complete",
        "total_tokens": 130,
        "input": {"total_tokens": 100, "uncached_tokens": 60, "cache_read_tokens": 30, "cache_write_tokens": 10},
        "output": {"total_tokens": 30, "non_reasoning_tokens": 20, "reasoning_tokens": 10},
        "unclassified_tokens": 0,
    }


@pytest.mark.parametrize(
    ("usage", "quality", "unclassified"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130}, "complete", 0),
        ({"prompt_tokens": 100, "completion_tokens": 30}, "complete", 0),
        ({"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 500}, "unclassified", 370),
        ({"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 90}, "inconsistent", 130),
        (
            {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 50}},
            "inconsistent",
            63,
        ),
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 3,
                "total_tokens": 63,
                "prompt_tokens_details": {"cached_tokens": 50},
            },
            "complete",
            0,
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 9}},
            "inconsistent",
            13,
        ),
        ({}, "complete", 0),
    ],
)
async def test_the_quality_says_what_the_parts_are_worth(
    bench: Bench, usage: dict[str, Any], quality: str, unclassified: int
) -> None:
    async def counted(request: web.Request, name: str) -> web.StreamResponse:
        return await stream_of(request, openai(usage))

    bench.answer = counted
    parts = (await asked(bench, "openai"))["token_breakdown"]
    assert (parts["quality"], parts["unclassified_tokens"]) == (quality, unclassified)
    assert parts["total_tokens"] == (
        parts["input"]["total_tokens"] + parts["output"]["total_tokens"] + parts["unclassified_tokens"]
    )


def test_an_item_is_encoded_only_when_it_is_taken() -> None:
    item = QueueItem(event(), RequestDetails())
    item.event.model = "changed"
    assert orjson.loads(item.encode())["model"] == "changed"
