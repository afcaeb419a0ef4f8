"""A daemon that records usage, over an upstream that answers in all formats as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.usage.filters import EventFilter
from cpa.usage.queries import events_page
from cpa.usage.store import NotReady
from tests.usage.vendor_streams import claude, gemini, openai, responses

TEXT = "Hi"
STREAMS = {
    "openai": openai({"prompt_tokens": 130, "completion_tokens": 50, "total_tokens": 180}),
    "openai-response": responses({"input_tokens": 130, "output_tokens": 50, "total_tokens": 180}),
    "claude": claude({"input_tokens": 130, "output_tokens": 1}, {"output_tokens": 50}),
    "gemini": gemini({"promptTokenCount": 130, "candidatesTokenCount": 50, "totalTokenCount": 180}),
}
WHOLE: dict[str, dict[str, Any]] = {
    "openai": {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 130, "completion_tokens": 50, "total_tokens": 180},
    },
    "claude": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": TEXT}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 130, "output_tokens": 50},
    },
    "gemini": {
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": TEXT}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 130, "candidatesTokenCount": 50, "totalTokenCount": 180},
    },
}
ASKED: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    "openai-response": ("/v1/responses", {"input": "hi"}),
    "claude": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "gemini": ("/v1beta/models/{model}:{verb}", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}
CONFIG = """
host: 127.0.0.1
port: 0
request-retry: 0
usage-statistics-enabled: true
prices: [{{model: up, input: 1, output: 2}}]
auth-dir: {folder}/auth
usage-database-path: {folder}/data/usage.sqlite
openai-compatibility:
  - {{name: compat, base-url: "{url}/openai/v1", api-key-entries: [{{api-key: k1}}, {{api-key: k2}}, {{api-key: k3}}],
      models: [{{name: up, alias: openai}}]}}
claude-api-key: [{{api-key: k1, base-url: "{url}/claude", models: [{{name: up, alias: claude}}]}}]
codex-api-key: [{{api-key: k1, base-url: "{url}/openai-response", models: [{{name: up, alias: openai-response}}]}}]
gemini-api-key: [{{api-key: k1, base-url: "{url}/gemini", models: [{{name: up, alias: gemini}}]}}]
"""
Answering = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


class Bench:
    """A daemon over an upstream that answers all formats as ``answer`` says."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession) -> None:
        self.daemon = daemon
        self.session = session
        self.answer: Answering = answered

    def ask(self, name: str, upstream: str = "", *, stream: bool = True) -> Any:
        """A request in one format, for the upstream of the same or another one."""
        path, body = ASKED[name]
        model = upstream or name
        if name == "gemini":
            path = path.format(model=model, verb="streamGenerateContent?alt=sse" if stream else "generateContent")
        else:
            body = {**body, "model": model, "stream": stream}
        return self.session.post(f"http://{self.daemon.addresses[0]}{path}", json=body)

    async def items(self, number: int) -> list[dict[str, Any]]:
        """What collectors would take, the oldest first, once there are ``number``."""
        async with asyncio.timeout(10):
            while len(self.daemon.usage_queue) < number:
                await asyncio.sleep(0.01)
        return [orjson.loads(item) for item in self.daemon.usage_queue.pop(100)]

    async def rows(self, number: int) -> list[dict[str, Any]]:
        """All records, the first attempt first, once there are ``number``.

        On a busy machine the first one may find a database that is still being made.
        """
        async with asyncio.timeout(30):
            while True:
                rows: list[dict[str, Any]] = []
                with suppress(NotReady):
                    rows = await asyncio.to_thread(
                        self.daemon.usage.ask, lambda c: events_page(c, EventFilter())["events"][::-1], rows
                    )
                if len(rows) >= number:
                    return rows
                await asyncio.sleep(0.01)


@asynccontextmanager
async def recording(folder: Path, **logins: dict[str, Any]) -> AsyncIterator[Bench]:
    """Run both; files are kept in ``folder``. Logins are at an upstream of the same format as their names."""
    made: list[Bench] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        return await made[0].answer(request, request.path.split("/")[1])

    app = web.Application()
    app.router.add_post("/{tail:.*}", handle)
    async with TestServer(app) as upstream, aiohttp.ClientSession() as session:
        path, url = folder / "config.yaml", f"http://{upstream.host}:{upstream.port}"
        path.write_text(CONFIG.format(folder=folder, url=url))
        (folder / "auth").mkdir(exist_ok=True)
        for name, login in logins.items():
            (folder / "auth" / f"{name}.json").write_bytes(orjson.dumps({**login, "base_url": f"{url}/{name}"}))
        async with Daemon(ConfigStore(path, {}), {"MANAGEMENT_PASSWORD": "password-of-the-test"}) as daemon:
            made.append(Bench(daemon, session))
            yield made[0]


async def stream_of(request: web.Request, content: bytes, **headers: str) -> web.StreamResponse:
    """Headers are named with ``_`` for ``-``."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", **named})
    await answer.prepare(request)
    await answer.write(content)
    return answer


async def answered(request: web.Request, name: str) -> web.StreamResponse:
    """Everything goes well."""
    body = await request.json()
    if body.get("stream") or "stream" in request.path:
        return await stream_of(request, STREAMS[name])
    return web.json_response(WHOLE[name])
