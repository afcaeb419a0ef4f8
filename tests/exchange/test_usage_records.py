"""One record for each attempt, one of them final, whatever way an exchange ends; with the tokens seen until then."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from cpa.accounts.account import Account
from cpa.conversation.usage import ToolUsage, Usage
from cpa.errors import ErrorInfo
from cpa.exchange.call import Call
from cpa.exchange.record import AttemptRecord
from cpa.exchange.usage_trail import UsageTrail
from cpa.formats.registry import builtin_formats
from cpa.usage.attempted import Attempted
from cpa.usage.event import Event
from cpa.usage.export import export_csv
from cpa.usage.filters import EventFilter
from tests.exchange.recording import ASKED, STREAMS, TEXT, WHOLE, Bench, answered, stream_of
from tests.usage.vendor_streams import claude, gemini, openai, responses, sse


@pytest.mark.parametrize("upstream", STREAMS)
async def test_an_answer_is_one_final_row_with_the_tokens_of_its_end(bench: Bench, upstream: str) -> None:
    asked = [(name, stream) for name in STREAMS for stream in (True, False)]
    for name, stream in asked:
        async with bench.ask(name, upstream, stream=stream) as answer:
            assert answer.status == 200
            await answer.read()
    rows = await bench.rows(len(asked))
    assert [(row["client_format"], row["stream"]) for row in rows] == asked
    for row in rows:
        assert (row["failed"], row["status_code"], row["attempt"], row["final"]) == (False, 200, 1, True)
        assert row["upstream_format"] == {"openai-response": "codex"}.get(upstream, upstream)
        assert (row["model"], row["requested_model"]) == ("up", upstream)
        assert row["tokens"]["total_tokens"] == 180
        assert row["cost_usd"] == pytest.approx((130 + 2 * 50) / 1e6)
        assert row["endpoint"] == "POST " + ASKED[row["client_format"]][0].replace("{model}:{verb}", "*action")


def cut(content: bytes) -> bytes:
    """A stream up to where its text has begun to come."""
    end = content.index(b"\n\n", content.index(b"Hi"))
    return content[: end + 2]


@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_that_breaks_is_a_failed_row_with_the_tokens_it_had_told(bench: Bench, name: str) -> None:
    async def breaks(request: web.Request, name: str) -> web.StreamResponse:
        answer = await stream_of(request, cut(BROKEN[name]))
        assert request.transport is not None
        request.transport.close()
        return answer

    bench.answer = breaks
    async with bench.ask(name) as answer:
        await answer.read()
    (row,) = await bench.rows(1)
    assert (row["failed"], row["final"], row["tokens"]["total_tokens"]) == (True, True, TOLD[name])
    assert row["status_code"] >= 500
    assert row["fail"]["body"]


BROKEN = {
    "openai": openai(None).replace(
        b'"choices"', b'"usage":{"prompt_tokens":130,"completion_tokens":1,"total_tokens":131},"choices"', 1
    ),
    "openai-response": sse(
        {"type": "response.created", "response": {"id": "r", "object": "response", "model": "m", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {"id": "i", "type": "message"}},
        {"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": TEXT},
    ),
    "claude": claude({"input_tokens": 130, "output_tokens": 1}),
    "gemini": gemini({"promptTokenCount": 130, "candidatesTokenCount": 1, "totalTokenCount": 131}, {}),
}
TOLD = {"openai": 131, "openai-response": 0, "claude": 131, "gemini": 131}
"""What is known of them by then."""


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("client", ["same", "other"])
async def test_a_client_that_goes_away_in_a_stream_is_a_row_with_status_499_and_the_tokens_so_far(
    bench: Bench, name: str, client: str
) -> None:
    """Whether the stream passes or is translated."""
    gone = asyncio.Event()

    async def stalls(request: web.Request, name: str) -> web.StreamResponse:
        answer = await stream_of(request, cut(BROKEN[name]))
        await gone.wait()
        return answer

    bench.answer = stalls
    asking = name if client == "same" else "openai" if name == "claude" else "claude"
    answer = await bench.ask(asking, name)
    while TEXT.encode() not in await answer.content.readany():
        pass
    answer.close()
    (row,) = await bench.rows(1)
    gone.set()
    expected = (True, True, 499, TOLD[name])
    assert (row["failed"], row["final"], row["status_code"], row["tokens"]["total_tokens"]) == expected
    assert (row["fail"]["body"], row["error"]) == ("client disconnected", "client_gone")


@pytest.mark.parametrize(("name", "stream"), [("openai", True), ("claude", False), ("gemini", True)])
async def test_a_client_that_goes_away_before_the_answer_is_one_row(bench: Bench, name: str, stream: bool) -> None:
    asked, gone = asyncio.Event(), asyncio.Event()

    async def silent(request: web.Request, name: str) -> web.StreamResponse:
        asked.set()
        await gone.wait()
        return web.Response()

    bench.answer = silent
    request = asyncio.ensure_future(bench.ask(name, stream=stream)._coro)
    await asked.wait()
    request.cancel()
    (row,) = await bench.rows(1)
    gone.set()
    assert (row["failed"], row["final"], row["status_code"], row["tokens"]["total_tokens"]) == (True, True, 499, 0)
    assert row["cost_usd"] is None


@pytest.mark.parametrize("upstream", STREAMS)
async def test_an_answer_without_usage_is_a_row_with_zeros(bench: Bench, upstream: str) -> None:
    """Of every upstream, streamed and whole, passed and translated: the request is counted, no token is invented."""

    async def silent(request: web.Request, name: str) -> web.StreamResponse:
        body = await request.json()
        if body.get("stream") or "stream" in request.path:
            return await stream_of(request, UNCOUNTED[name])
        return web.json_response({k: v for k, v in WHOLE[name].items() if k not in ("usage", "usageMetadata")})

    bench.answer = silent
    asked = [(name, stream) for name in STREAMS for stream in (True, False)]
    for name, stream in asked:
        async with bench.ask(name, upstream, stream=stream) as answer:
            assert answer.status == 200
            await answer.read()
    rows = await bench.rows(len(asked))
    assert [(row["client_format"], row["stream"]) for row in rows] == asked
    for row in rows:
        assert (row["failed"], row["status_code"], row["attempt"], row["final"]) == (False, 200, 1, True)
        assert set(row["tokens"].values()) == {0}
        assert (row["cost_usd"], row["estimated"]) == (None, False)


UNCOUNTED = {
    "openai": openai(),
    "openai-response": responses(None),
    "claude": sse(
        {"type": "message_start", "message": {**WHOLE["claude"], "content": [], "usage": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": TEXT}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ),
    "gemini": gemini(None),
}


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_upstream_that_hangs_up_before_the_answer_is_a_failed_row(
    bench: Bench, name: str, stream: bool
) -> None:
    async def hangs_up(request: web.Request, name: str) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.close()
        return web.Response()

    bench.answer = hangs_up
    async with bench.ask(name, stream=stream) as answer:
        assert answer.status >= 500
    rows = await bench.rows(1)
    assert [row["final"] for row in rows] == [False] * (len(rows) - 1) + [True]
    assert all(row["failed"] and row["status_code"] >= 500 and row["fail"]["body"] for row in rows)
    assert {row["tokens"]["total_tokens"] for row in rows} == {0}


@pytest.mark.parametrize("name", STREAMS)
async def test_an_error_answer_is_a_failed_row_with_its_status_and_words(bench: Bench, name: str) -> None:
    async def refuses(request: web.Request, name: str) -> web.StreamResponse:
        error = {"message": "  that is no model  ", "type": "invalid_request_error", "status": "INVALID_ARGUMENT"}
        return web.json_response({"error": error}, status=400)

    bench.answer = refuses
    async with bench.ask(name) as answer:
        assert answer.status == 400
    rows = await bench.rows(1)
    assert {(row["failed"], row["status_code"]) for row in rows} == {(True, 400)}
    assert {row["fail"]["body"].strip() for row in rows} == {"that is no model"}


async def test_a_request_that_cannot_be_translated_is_one_failed_row(bench: Bench) -> None:
    url = f"http://{bench.daemon.addresses[0]}/v1/messages"
    body = {"model": "openai", "max_tokens": 9, "messages": [{"role": "user", "content": 7}]}
    async with bench.session.post(url, json=body) as answer:
        assert answer.status == 400
    (row,) = await bench.rows(1)
    assert (row["failed"], row["final"], row["status_code"], row["attempt"]) == (True, True, 400, 0)
    assert row["fail"]["body"]


def finished(made: Attempted | Event) -> Event:
    return made if isinstance(made, Event) else made.event()


def test_a_request_that_fails_after_a_good_attempt_is_a_failed_row() -> None:
    """The client was told of a failure: what looked fine was none."""
    call = Call(format="openai", model="m", body={}, path="/v1/chat/completions")
    account = Account(id="a", provider="claude")
    told: list[tuple[Event, AttemptRecord | None]] = []
    trail = UsageTrail(builtin_formats(), lambda _: None, str)
    trail.collect = lambda event, _, record: told.append((event, record))
    record = AttemptRecord(call, account, "up", "claude", 1)
    record.close(200)
    trail.close(call, record, 502, ErrorInfo(502, "a hook failed"), 0.1)
    ((event, source),) = told
    assert (event.failed, event.status, event.final) == (True, 502, True)
    assert source is record


def test_an_attempt_that_ends_twice_is_one_row() -> None:
    call = Call(format="openai", model="m", body={}, path="/v1/chat/completions")
    told: list[Event] = []
    trail = UsageTrail(builtin_formats(), lambda made: told.append(finished(made)), str)
    record = AttemptRecord(call, Account(id="a", provider="claude"), "up", "claude", 1)
    record.usage = Usage(input_total=1, image_tool=ToolUsage("gpt-image-2", Usage(input_total=4)))
    for status in (200, 499, 500):
        record.close(status)
    trail.close(call, record, 200, None, 0.1)
    assert [(event.status, event.attempt, event.final) for event in told[:2]] == [(200, 1, True), (200, 0, False)]
    assert len(told) == 2


async def test_three_attempts_of_one_request_are_three_rows_one_of_them_final(bench: Bench) -> None:
    statuses = [429, 500, 200]

    async def fails_twice(request: web.Request, name: str) -> web.StreamResponse:
        status = statuses.pop(0)
        if status == 200:
            return await answered(request, name)
        return web.json_response({"error": {"message": f"no {status}", "type": "x", "code": "why"}}, status=status)

    bench.answer = fails_twice
    async with bench.ask("openai") as answer:
        assert answer.status == 200
        await answer.read()
    rows = await bench.rows(3)
    assert [(row["attempt"], row["status_code"], row["failed"], row["final"]) for row in rows] == [
        (1, 429, True, False),
        (2, 500, True, False),
        (3, 200, False, True),
    ]
    assert len({row["request_id"] for row in rows}) == 1
    assert len({row["auth_index"] for row in rows}) == 3
    assert [row["error"] for row in rows] == ["why", "why", ""]
    assert "no 429" in rows[0]["fail"]["body"]


async def test_a_request_nobody_can_serve_is_one_row_without_an_account(bench: Bench) -> None:
    async with bench.ask("claude", "nothing") as answer:
        assert answer.status >= 400
    (row,) = await bench.rows(1)
    assert (row["attempt"], row["final"], row["failed"], row["model"]) == (0, True, True, "nothing")
    assert (row["auth_index"], row["tokens"]["total_tokens"]) == ("", 0)


async def test_a_name_that_is_no_models_takes_little_room(bench: Bench) -> None:
    async with bench.ask("claude", "x" * 100_000) as answer:
        assert answer.status >= 400
    (row,) = await bench.rows(1)
    assert row["model"] == row["requested_model"] == "x" * 256


async def test_a_key_that_was_taken_for_a_model_is_told_and_noted_masked(bench: Bench) -> None:
    bench.daemon.secrets.replace(["key-of-somebody"])
    for name in ASKED:
        async with bench.ask(name, "key-of-somebody") as answer:
            assert answer.status == 404
            assert "unknown model '***'" in await answer.text()
    for row in await bench.rows(len(ASKED)):
        assert (row["model"], row["requested_model"]) == ("***", "***")
        assert "key-of-somebody" not in str(row)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stream_that_fails_before_its_text_keeps_what_its_start_told(bench: Bench, stream: bool) -> None:
    """For a client that wants it whole, too, from an upstream that only streams."""
    start = {"input_tokens": 100, "cache_read_input_tokens": 30, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": "m", "usage": start}
    error = {"type": "overloaded_error", "message": "Overloaded"}

    async def fails(request: web.Request, name: str) -> web.StreamResponse:
        frames = ({"type": "message_start", "message": message}, {"type": "error", "error": error})
        return await stream_of(request, sse(*frames))

    bench.answer = fails
    async with bench.ask("claude", stream=stream) as answer:
        await answer.read()
    rows = await bench.rows(1)
    assert {row["tokens"]["total_tokens"] for row in rows} == {131}
    assert [row["final"] for row in rows] == [False] * (len(rows) - 1) + [True]
    assert all(row["failed"] for row in rows)


async def test_a_row_says_what_the_client_said_of_itself_and_asked_for(bench: Bench) -> None:
    bench.session.headers["User-Agent"] = "tool/1.0 " + "x" * 300
    path, body = ASKED["openai"]
    body = {**body, "model": "openai", "service_tier": "flex", "reasoning_effort": "high"}
    async with bench.session.post(f"http://{bench.daemon.addresses[0]}{path}", json=body) as answer:
        await answer.read()
    (row,) = await bench.rows(1)
    assert (row["service_tier"], row["user_agent"][:9], len(row["user_agent"])) == ("flex", "tool/1.0 ", 200)
    assert (row["client_ip"], row["executor_type"], row["response_service_tier"]) == (
        "127.0.0.1",
        "OpenAICompatExecutor",
        "",
    )
    assert row["reasoning_effort"] == "high"
    assert row["cost_nanos"] == (130 + 2 * 50) * 1000


async def test_a_row_says_which_tier_served_it(bench: Bench) -> None:
    """Asked for, and what the answer says came of it; both are told by exports, too."""

    async def slower(request: web.Request, name: str) -> web.StreamResponse:
        return web.json_response({**WHOLE["openai"], "service_tier": "default"})

    bench.answer = slower
    path, body = ASKED["openai"]
    body = {**body, "model": "openai", "service_tier": "priority"}
    async with bench.session.post(f"http://{bench.daemon.addresses[0]}{path}", json=body) as answer:
        await answer.read()
    (row,) = await bench.rows(1)
    assert (row["service_tier"], row["response_service_tier"]) == ("priority", "default")
    nothing: list[bytes] = []
    exported = b"".join(
        await asyncio.to_thread(bench.daemon.usage.ask, lambda found: list(export_csv(found, EventFilter())), nothing)
    ).decode()
    names, values = (line.split(",") for line in exported.splitlines())
    told = dict(zip(names, values, strict=True))
    assert (told["service_tier"], told["response_service_tier"], told["client_ip"]) == (
        "priority",
        "default",
        "127.0.0.1",
    )


async def test_counting_tokens_is_no_row(bench: Bench) -> None:
    async def counts(request: web.Request, name: str) -> web.StreamResponse:
        return web.json_response({"input_tokens": 5, "totalTokens": 5})

    bench.answer = counts
    origin = f"http://{bench.daemon.addresses[0]}"
    messages, contents = [{"role": "user", "content": "hi"}], [{"role": "user", "parts": [{"text": "hi"}]}]
    for model in STREAMS:
        for path, body in (
            ("/v1/messages/count_tokens", {"model": model, "messages": messages}),
            (f"/v1beta/models/{model}:countTokens", {"contents": contents}),
        ):
            async with bench.session.post(origin + path, json=body) as answer:
                assert answer.status == 200
    bench.answer = answered
    async with bench.ask("claude") as answer:
        await answer.read()
    assert len(await bench.rows(1)) == 1
