"""The Gemini routes beside those the SDK takes: JSON arrays, both API versions."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson
import pytest
from running import KEY, RunningDaemon

ASKED: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
every_upstream = pytest.mark.parametrize("model", ["oc", "claude", "gemini", "codex"])


async def ask(url: str) -> tuple[str, bytes]:
    async with (
        aiohttp.ClientSession(headers={"x-goog-api-key": KEY}) as session,
        session.post(url, json=ASKED) as answer,
    ):
        assert answer.status == 200
        return answer.content_type, await answer.read()


def shown(chunks: list[Any]) -> tuple[str, str, int]:
    candidates = [chunk["candidates"][0] for chunk in chunks if chunk.get("candidates")]
    texts = [part.get("text", "") for candidate in candidates for part in candidate["content"]["parts"]]
    return "".join(texts), candidates[-1]["finishReason"], chunks[-1]["usageMetadata"]["totalTokenCount"]


@every_upstream
@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_a_json_array_holds_what_the_stream_holds(daemon: RunningDaemon, model: str, version: str) -> None:
    url = f"{daemon.url}/{version}/models/{model}:streamGenerateContent"
    kind, data = await ask(url + "?alt=json")
    assert kind == "application/json"
    array = orjson.loads(data)
    kind, data = await ask(url)
    assert kind == "text/event-stream"
    frames = [orjson.loads(line.removeprefix(b"data: ")) for line in data.splitlines() if line]
    assert shown(array) == shown(frames) == ("You said: hello — über ☃", "STOP", 29)
