"""An upstream that repeats what it was sent in its errors: clients are told them without the account's secrets."""

from __future__ import annotations

import base64
import html
import re
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
DOOR = "Qm9-what&opens'the<door>-4711"
"""In a header whose name does not say that it is secret."""


def written(secret: str) -> list[str]:
    """How others write a secret: escaped in one way or another."""
    encoded, in_html = quote(secret, safe=""), html.escape(secret)
    found = [secret, encoded, re.sub("%..", lambda sign: sign[0].lower(), encoded), orjson.dumps(secret)[1:-1].decode()]
    found += [in_html, in_html.replace("&#x27;", "&#39;").replace("&quot;", "&#34;")]
    for escaped in ("<>&", "<>&'\"+", secret):
        found.append("".join(f"\\u{ord(letter):04x}" if letter in escaped else letter for letter in secret))
    return found


def encoded(secret: str) -> list[str]:
    """A text with the secret in it in Base64, wherever it begins."""
    texts = [b"\xff" * before + secret.encode() for before in range(3)]
    return [each(text).decode() for text in texts for each in (base64.b64encode, base64.urlsafe_b64encode)]


SECRETS = (ACCOUNT_KEY, HEADER, PARAMETER, DOOR)
FORMS = [form for secret in SECRETS for form in written(secret)]
FORMS += [form.rstrip("=")[5:-2] for secret in SECRETS for form in encoded(secret)]
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
    sent = [request.headers["Authorization"].removeprefix("Bearer "), request.headers["X-Door"]]
    forms = [form for each in sent for form in written(each) + encoded(each)]
    error = {
        "message": f"you sent {dict(request.headers)} to {request.rel_url}, {forms}",
        "code": request.headers["X-Gateway-Key"],
    }
    if "early" in request.path:
        return web.json_response({"error": error}, status=400)
    told = {"X-Seen": str(list(request.headers.values())), "X-Asked": str(request.rel_url), "X-Model": "m"}
    told |= {"X-Form": encoded(DOOR)[-1], "X-Request-Id": f"for {DOOR}"}
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
            "headers": {"X-Gateway-Key": HEADER, "X-Door": DOOR},
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
