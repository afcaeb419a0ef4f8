"""What pictures took that an answer's model had made: a row of their own, once, which is neither an attempt nor a
request."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from cpa.config.client_keys import key_id
from cpa.usage.overview import overview
from tests.exchange.recording import ASKED, Bench, recording, stream_of
from tests.usage.vendor_streams import RESPONSES_USAGE, sse

TOOL = {
    "input_tokens": 40,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 40},
    "output_tokens": 1000,
    "total_tokens": 1040,
}
NONE = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
PICTURE = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "result": "aGk="}
TEXT = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
}


def answer(kind: str, **members: Any) -> bytes:
    """A Responses stream that ends with ``kind``."""
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "up", "output": []}
    items = [{"type": f"response.output_item.{step}", "output_index": 0, "item": TEXT} for step in ("added", "done")]
    return sse(
        {"type": "response.created", "response": {**response, "status": "in_progress"}},
        *items,
        {
            "type": f"response.{kind}",
            "response": {
                **response,
                "status": kind,
                "output": [TEXT, PICTURE],
                "usage": RESPONSES_USAGE,
                **members,
            },
        },
    )


def answering(content: bytes) -> Any:
    async def answered(request: web.Request, name: str) -> web.StreamResponse:
        return await stream_of(request, content)

    return answered


def told(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["model"], row["tokens"]["total_tokens"], row["attempt"], row["final"], row["failed"]


@pytest.mark.parametrize("name", ASKED)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_picture_is_a_row_of_its_model_beside_the_answers(bench: Bench, name: str, stream: bool) -> None:
    """Native and translated, streamed and whole."""
    bench.answer = answering(answer("completed", tool_usage={"image_gen": TOOL}))
    async with bench.ask(name, "openai-response", stream=stream) as response:
        assert response.status == 200
        await response.read()
    main, tool = await bench.rows(2)
    assert told(main) == ("up", 180, 1, True, False)
    assert told(tool) == ("gpt-image-2", 1040, 0, False, False)
    assert (tool["tokens"]["input_tokens"], tool["tokens"]["output_tokens"]) == (40, 1000)
    same = ("request_id", "auth_index", "requested_model", "timestamp", "client_format", "endpoint")
    assert [main[member] for member in same] == [tool[member] for member in same]
    assert (tool["latency_ms"], tool["ttft_ms"]) == (0, None)
    items = await bench.items(2)
    assert [item["model"] for item in items] == ["up", "gpt-image-2"]
    usage = (await asyncio.to_thread(bench.daemon.usage.ask, overview, {}))["usage"]
    assert (usage["client_requests"], usage["total_tokens"]) == (1, 1220)


@pytest.mark.parametrize("usage", [NONE, None, {}, [], {"image_gen": 1}, {"input_tokens": "x"}])
async def test_a_tool_that_used_nothing_is_no_row(bench: Bench, usage: Any) -> None:
    bench.answer = answering(answer("completed", tool_usage={"image_gen": usage, "web_search": {"num_requests": 0}}))
    async with bench.ask("openai-response") as response:
        await response.read()
    (row,) = await bench.rows(1)
    assert told(row) == ("up", 180, 1, True, False)


@pytest.mark.parametrize("name", ["openai-response", "claude"])
@pytest.mark.parametrize("kind", ["incomplete", "failed"])
async def test_pictures_of_an_answer_that_does_not_complete_took_what_they_took(
    bench: Bench, name: str, kind: str
) -> None:
    bench.answer = answering(answer(kind, tool_usage={"image_gen": TOOL}))
    async with bench.ask(name, "openai-response") as response:
        await response.read()
    main, tool = await bench.rows(2)
    assert told(main) == ("up", 180, 1, True, kind == "failed")
    assert told(tool) == ("gpt-image-2", 1040, 0, False, False)


@pytest.mark.parametrize("echoed", [True, False])
async def test_the_row_names_the_model_that_made_the_picture(bench: Bench, echoed: bool) -> None:
    """As the answer names it, else as the request asked for it."""
    tools = [{"type": "image_generation", "model": "gpt-image-1.5"}]
    echo = {"tools": tools} if echoed else {}
    bench.answer = answering(answer("completed", tool_usage={"image_gen": TOOL}, **echo))
    path, body = ASKED["openai-response"]
    body = {**body, "model": "openai-response", "stream": True} | ({} if echoed else {"tools": tools})
    async with bench.session.post(f"http://{bench.daemon.addresses[0]}{path}", json=body) as response:
        await response.read()
    rows = await bench.rows(2)
    assert [row["model"] for row in rows] == ["up", "gpt-image-1.5"]


async def test_pictures_count_towards_the_budget_of_a_key(bench: Bench) -> None:
    store = bench.daemon.store
    text = store.path.read_text().replace("prices: [", "prices: [{model: gpt-image-2, input: 10, output: 40}, ")
    store.path.write_text(text + "api-keys: [{key: k-limited, name: limited, budget-per-day: 100}]\n")
    store.reload()
    bench.answer = answering(answer("completed", tool_usage={"image_gen": TOOL}))
    bench.session.headers["Authorization"] = "Bearer k-limited"
    async with bench.ask("openai-response") as response:
        assert response.status == 200
        await response.read()
    main, tool = await bench.rows(2)
    assert tool["cost_nanos"] == (40 * 10 + 1000 * 40) * 1000
    assert bench.daemon.limits.used(key_id("k-limited")).day_nanos == main["cost_nanos"] + tool["cost_nanos"]


async def test_the_images_route_is_a_request_to_the_model_that_had_them_made(tmp_path: Path) -> None:
    login = {"type": "codex", "access_token": "t", "email": "a@b.c", "expired": "2099-01-01T00:00:00Z"}
    picture = answer("completed", tool_usage={"image_gen": TOOL}).replace(orjson.dumps(TEXT), orjson.dumps(PICTURE))
    async with recording(tmp_path, **{"openai-response": login}) as bench:
        bench.answer = answering(picture)
        url = f"http://{bench.daemon.addresses[0]}/v1/images/generations"
        async with bench.session.post(url, json={"prompt": "a cat", "model": "gpt-image-2"}) as response:
            assert response.status == 200
            assert (await response.json())["usage"] == TOOL
        main, tool = await bench.rows(2)
        assert told(main) == ("gpt-5.4-mini", 180, 1, True, False)
        assert told(tool) == ("gpt-image-2", 1040, 0, False, False)
        assert tool["endpoint"] == "POST /v1/images/generations"
