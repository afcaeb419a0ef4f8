"""An upstream that repeats what it was sent in its errors: clients are told them without the account's secrets."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from aiohttp import web
from running import KEY, RunningDaemon, Upstream, free_port

ACCOUNT_KEY = 'account"key\\with/all+of=it'
HEADER = "secret-of-the-gateway"
PARAMETER = "secret-in-the-address"
FORMS = [
    form
    for secret in (ACCOUNT_KEY, HEADER, PARAMETER)
    for form in (secret, quote(secret, safe=""), orjson.dumps(secret)[1:-1].decode())
]
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
DELTA = {"index": 0, "delta": {"role": "assistant", "content": "Hello"}, "finish_reason": None}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    "claude": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "openai-response": ("/v1/responses", {"input": "hi"}),
    "gemini": ("/v1beta/models/m:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": "hi"}]}]}),
}


async def repeat(request: web.Request) -> web.StreamResponse:
    """Before or in the middle of its answer, an error that tells every header and the address."""
    await request.read()
    error = {
        "message": f"you sent {dict(request.headers)} to {request.rel_url}",
        "code": request.headers["X-Gateway-Key"],
    }
    if "early" in request.path:
        return web.json_response({"error": error}, status=400)
    told = {"X-Seen": str(list(request.headers.values())), "X-Asked": str(request.rel_url), "X-Model": "m"}
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream", **told})
    await answer.prepare(request)
    for event in ({**CHUNK, "choices": [DELTA]}, {"error": error}):
        await answer.write(b"data: " + orjson.dumps(event) + b"\n\n")
    return answer


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    app = web.Application()
    app.router.add_post("/{rest:.*}", repeat)
    upstream = Upstream(app)
    folder: Path = tmp_path_factory.mktemp("repeating")
    providers = [
        {
            "name": name,
            "base-url": f"{upstream.url}/{name}/v1?key={PARAMETER}",
            "headers": {"X-Gateway-Key": HEADER},
            "api-key-entries": [{"api-key": ACCOUNT_KEY}],
            "models": [{"name": "m", "alias": name}],
        }
        for name in ("early", "late")
    ]
    config = {"host": "127.0.0.1", "port": free_port(), "auth-dir": str(folder / "auth"), "api-keys": [KEY]}
    running = RunningDaemon(
        {**config, "disable-cooling": True, "passthrough-headers": True, "openai-compatibility": providers}, folder
    )
    yield running
    assert running.stop() == 0
    upstream.stop()


@pytest.mark.parametrize("client", REQUESTS)
@pytest.mark.parametrize("when", ["early", "late"])
def test_it_is_told_and_nothing_secret_with_it(daemon: RunningDaemon, client: str, when: str) -> None:
    path, body = REQUESTS[client]
    if client != "gemini":
        body = {**body, "model": when, "stream": True}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    asked = urllib.request.Request(daemon.url + path.replace("/m:", f"/{when}:"), orjson.dumps(body), headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.headers["X-Model"] == "m"
            told = f"{answer.headers}{answer.read().decode()}"
        assert when == "late"
    except urllib.error.HTTPError as refusal:
        told = refusal.read().decode()
        assert when == "early"
    assert "you sent" in told
    assert [form for form in FORMS if form in told] == []
    assert [form for form in FORMS if form in daemon.output()] == []
