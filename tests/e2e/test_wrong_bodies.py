"""Bodies with one wrong value each, on every route, over every upstream: an answer or a refusal, never an accident.

``CPA_EVERY_WRONG_VALUE=1`` sends every value at every place instead of some.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from running import KEY, RunningDaemon

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "formats"))
from specimens import REQUESTS
from test_wrong_types import spoilt

UPSTREAMS = ("oc", "claude", "gemini", "codex")
STEP = 1 if os.environ.get("CPA_EVERY_WRONG_VALUE") else 3
HEADERS = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
ROUTES = {
    "openai": ("/v1/chat/completions",),
    "openai-response": ("/v1/responses", "/v1/responses/compact"),
    "claude": ("/v1/messages", "/v1/messages/count_tokens"),
    "gemini": (
        "/v1beta/models/{model}:generateContent",
        "/v1beta/models/{model}:streamGenerateContent",
        "/v1beta/models/{model}:countTokens",
    ),
}
SHAPES: dict[str, frozenset[str]] = {
    "openai": frozenset({"message", "type", "param", "code"}),
    "openai-response": frozenset({"message", "type", "param", "code"}),
    "claude": frozenset({"type", "message"}),
    "gemini": frozenset({"code", "message", "status"}),
}
"""Members of ``error`` in a refusal."""

HOSTILE = {
    "nothing": b"",
    "half": b'{"model":"oc","messages":[',
    "no object": b"[1]",
    "deep": b'{"model":"oc","a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "not utf-8": b'{"model":"oc","messages":"\xff\xfe"}',
    "lone surrogate": b'{"model":"oc","messages":[{"role":"user","content":"\\ud800"}],"input":"\\ud800"}',
    "NaN": b'{"model":"oc","temperature":NaN}',
    "endless number": b'{"model":"oc","max_tokens":1' + b"0" * 5000 + b"}",
    "byte order mark": b"\xef\xbb\xbf{}",
}


async def post(session: aiohttp.ClientSession, url: str, body: bytes) -> tuple[int, bytes]:
    async with session.post(url, data=body, headers=HEADERS) as answer:
        return answer.status, await answer.read()


def sent(name: str) -> list[tuple[str, bytes]]:
    """Paths and bodies: every route and upstream in turn, streamed and not."""
    found = []
    for number, body in enumerate(spoilt(REQUESTS[name])):
        if number % STEP or not isinstance(body, dict):
            continue
        model = UPSTREAMS[number // STEP % len(UPSTREAMS)]
        route = ROUTES[name][number // STEP // len(UPSTREAMS) % len(ROUTES[name])]
        stream = {} if name == "gemini" else {"model": model, "stream": number // STEP % 3 == 0}
        found.append((route.format(model=model), orjson.dumps({**body, **stream})))
    return found


def is_told(name: str, body: bytes) -> bool:
    """Whether a refusal is in the words of the client's format."""
    error: Any = orjson.loads(body)["error"]
    return isinstance(error, dict) and SHAPES[name] <= error.keys() | {"param", "code"} and bool(error["message"])


@pytest.mark.parametrize("name", ROUTES)
async def test_a_wrong_value_is_answered_or_refused(name: str, daemon: RunningDaemon) -> None:
    statuses: Counter[int] = Counter()
    waiting = asyncio.Semaphore(8)
    async with aiohttp.ClientSession() as session:

        async def ask(path: str, body: bytes) -> None:
            async with waiting:
                status, answer = await post(session, daemon.url + path, body)
            statuses[status] += 1
            if status != 200:
                assert is_told(name, answer), (path, body, answer)
            assert status < 500 or status == 501, (status, path, body, answer)

        await asyncio.gather(*(ask(path, body) for path, body in sent(name)))
    assert {200, 400} <= set(statuses) <= {200, 400, 501}
    assert "Traceback" not in daemon.output()


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("name", ROUTES)
async def test_what_is_no_request_is_refused(name: str, case: str, daemon: RunningDaemon) -> None:
    async with aiohttp.ClientSession() as session:
        status, answer = await post(session, daemon.url + ROUTES[name][0].format(model="oc"), HOSTILE[case])
    assert status == 400
    assert is_told(name, answer)
    assert "Traceback" not in daemon.output()
