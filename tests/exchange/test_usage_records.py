"""One record for each attempt, one of them final, whatever way an exchange ends; with the tokens seen until then."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from tests.exchange.recording import ASKED, STREAMS, Bench, answered, stream_of
from tests.usage.vendor_streams import claude, gemini, sse


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


@pytest.mark.parametrize("name", ["claude", "gemini"])
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
    assert (row["failed"], row["final"], row["tokens"]["total_tokens"]) == (True, True, 131)
    assert row["status_code"] >= 500
    assert row["fail"]["body"]


BROKEN = {
    "claude": claude({"input_tokens": 130, "output_tokens": 1}),
    "gemini": gemini({"promptTokenCount": 130, "candidatesTokenCount": 1, "totalTokenCount": 131}, {}),
}


@pytest.mark.parametrize("name", ["claude", "gemini"])
async def test_a_client_that_goes_away_in_a_stream_is_a_row_with_status_499_and_the_tokens_so_far(
    bench: Bench, name: str
) -> None:
    gone = asyncio.Event()

    async def stalls(request: web.Request, name: str) -> web.StreamResponse:
        answer = await stream_of(request, cut(BROKEN[name]))
        await gone.wait()
        return answer

    bench.answer = stalls
    answer = await bench.ask(name)
    await answer.content.readany()
    answer.close()
    (row,) = await bench.rows(1)
    gone.set()
    assert (row["failed"], row["final"], row["status_code"], row["tokens"]["total_tokens"]) == (True, True, 499, 131)
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
    assert row["reasoning_effort"] == "high"
    assert row["cost_nanos"] == (130 + 2 * 50) * 1000


async def test_counting_tokens_is_no_row(bench: Bench) -> None:
    async def counts(request: web.Request, name: str) -> web.StreamResponse:
        return web.json_response({"input_tokens": 5})

    bench.answer = counts
    path = f"http://{bench.daemon.addresses[0]}/v1/messages/count_tokens"
    body = {"model": "claude", "messages": [{"role": "user", "content": "hi"}]}
    async with bench.session.post(path, json=body) as answer:
        assert answer.status == 200
    bench.answer = answered
    async with bench.ask("claude") as answer:
        await answer.read()
    assert len(await bench.rows(1)) == 1
