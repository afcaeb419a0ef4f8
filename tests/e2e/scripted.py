"""An OpenAI-compatible upstream that answers each key as scripted and notes who asked."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web


@dataclass
class Script:
    """How one key is answered: ``status`` other than 200 is an error.

    ``cut`` breaks the stream after a first delta, ``late`` is the code of an error told in it then, ``text`` is a body
    sent instead of everything else.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    message: str = "scripted error"
    kind: str = "scripted"
    cut: bool = False
    late: int = 0
    text: str | None = None


class ScriptedUpstream:
    """``scripts`` by key or ``key:model``, of several the first is used up; ``asked`` lists the keys as they came.

    ``hold`` pauses streams half way.
    """

    def __init__(self) -> None:
        self.scripts: dict[str, Script | list[Script]] = {}
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.delay = 0.0
        """Seconds before every answer."""
        self.hold = asyncio.Event()
        self.hold.set()
        self.app = web.Application()
        self.app.router.add_post("/v1/chat/completions", self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        key = request.headers["Authorization"].removeprefix("Bearer ")
        body = await request.json()
        script = self.scripts.get(f"{key}:{body['model']}") or self.scripts.get(key, Script())
        if isinstance(script, list):
            script = script.pop(0) if script else Script()
        self.asked.append(key)
        self.bodies.append(body)
        await asyncio.sleep(self.delay)
        if script.text is not None:
            kind = "text/event-stream" if body.get("stream") and script.status == 200 else "text/plain"
            return web.Response(text=script.text, status=script.status, headers=script.headers, content_type=kind)
        if script.status != 200:
            error = {"error": {"message": script.message, "type": script.kind, "code": "scripted"}}
            return web.json_response(error, status=script.status, headers=script.headers)
        if not body.get("stream"):
            message = {"role": "assistant", "content": f"by {key}"}
            return web.json_response(
                {
                    "id": "c1",
                    "object": "chat.completion",
                    "created": 1,
                    "model": body["model"],
                    "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
                }
            )
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        await answer.write(self._event(body["model"], {"role": "assistant", "content": f"by {key}"}, None))
        if script.cut:
            assert request.transport is not None
            request.transport.abort()
            return answer
        await self.hold.wait()
        if script.late:
            error = {"error": {"message": script.message, "type": script.kind, "code": script.late}}
            await answer.write(b"data: " + orjson.dumps(error) + b"\n\n")
            return answer
        await answer.write(self._event(body["model"], {}, "stop"))
        await answer.write(b"data: [DONE]\n\n")
        return answer

    @staticmethod
    def _event(model: str, delta: dict[str, Any], finish: str | None) -> bytes:
        chunk = {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
        return b"data: " + orjson.dumps(chunk) + b"\n\n"
