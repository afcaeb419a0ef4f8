"""Endpoints that single vendors have or lack: pictures by prediction, counting, answers that come another way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from aiohttp import web
from running import KEY, Upstream, free_port

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.exchange.transport import plain

PICTURE = {"predictions": [{"bytesBase64Encoded": "UElD", "mimeType": "image/png"}]}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 1},
}
Seen = tuple[str, dict[str, Any], str]


@asynccontextmanager
async def serving(
    folder: Path, section: str, model: str, answer: Any, status: int = 200
) -> AsyncIterator[tuple[Daemon, list[Seen]]]:
    """A daemon over a vendor that answers everything alike, and what came there: path, body, ``Accept``."""
    seen: list[Seen] = []

    async def serve(request: web.Request) -> web.Response:
        seen.append((request.path_qs, await request.json(), request.headers["Accept"]))
        return web.json_response(answer, status=status)

    app = web.Application()
    app.router.add_post("/{path:.*}", serve)
    server = Upstream(app)
    entry = {"api-key": "k", "base-url": server.url, "models": [{"name": model, "alias": "asked"}]}
    config = {
        "host": "127.0.0.1",
        "port": free_port(),
        "auth-dir": str(folder / "auth"),
        "api-keys": [KEY],
        "request-retry": 0,
        "usage-database-path": str(folder / "usage.sqlite"),
        section: [entry],
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        yield daemon, seen
    server.stop()


async def post(daemon: Daemon, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
    url, headers = f"http://{daemon.addresses[0]}{path}", {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.read()


CHAT = {"model": "asked", "messages": [{"role": "user", "content": "a cat"}]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "a cat"}]}]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", {**CHAT, "stream": True}),
        ("/v1beta/models/asked:generateContent", GEMINI),
        ("/v1beta/models/asked:streamGenerateContent?alt=sse", GEMINI),
    ],
)
async def test_a_model_that_predicts_pictures_is_asked_for_them(
    tmp_path: Path, path: str, body: dict[str, Any]
) -> None:
    model = "imagen-4.0-generate-001"
    async with serving(tmp_path, "vertex-api-key", model, PICTURE) as (daemon, seen):
        status, shown = await post(daemon, path, body)
    assert (status, shown.count(b"UElD")) == (200, 1), shown
    predicting = {"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 1}}
    assert seen == [(f"/v1/publishers/google/models/{model}:predict", predicting, "application/json")]


@pytest.mark.parametrize(("status", "told"), [(404, 200), (501, 200), (400, 400)])
async def test_tokens_are_counted_here_where_a_vendor_has_no_endpoint_for_it(
    tmp_path: Path, status: int, told: int
) -> None:
    async with serving(tmp_path, "claude-api-key", "m", {"error": {"message": "no"}}, status) as (daemon, _):
        answered, shown = await post(daemon, "/v1/messages/count_tokens", CHAT)
        assert answered == told, shown
        assert told != 200 or orjson.loads(shown)["input_tokens"] > 0
        assert not any(daemon.pool.health(account.id).models for account in daemon.pool)


async def test_a_whole_answer_of_claude_is_asked_for_as_a_stream_where_it_is_translated(tmp_path: Path) -> None:
    async with serving(tmp_path, "claude-api-key", "m", MESSAGE) as (daemon, seen):
        status, shown = await post(daemon, "/v1/chat/completions", CHAT)
        assert (status, b"hello" in shown) == (200, True), "an answer that is whole all the same is taken"
        await post(daemon, "/v1/messages", {**CHAT, "max_tokens": 5})
    (_, translated, accept), (_, native, other) = seen
    assert (translated["stream"], accept) == (True, "text/event-stream")
    assert (native.get("stream"), other) == (None, "application/json")


PACKED = [
    "28b52ffd20073900007b2261223a317d",
    "1f8b0800000000000203ab564a54b232ac0500afac1b5607000000",
]


@pytest.mark.parametrize("packed", PACKED)
def test_what_is_packed_without_saying_so_is_unpacked_and_what_only_looks_so_stays(packed: str) -> None:
    body = bytes.fromhex(packed)
    assert plain(body) == b'{"a":1}'
    assert plain(body[:4] + b"not packed") == body[:4] + b"not packed"
