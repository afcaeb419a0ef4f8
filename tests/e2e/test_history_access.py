"""Row 27: what is kept of requests belongs to whoever runs the daemon; a client key opens none of it."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest
from histories import CHAT, MANAGEMENT_KEY, Keep, Kept
from running import KEY

OTHER = "another-client-key"
ROUTES = (
    ("GET", "/request-histories"),
    ("GET", "/request-histories/one"),
    ("GET", "/request-histories/one?section=request%20body"),
    ("DELETE", "/request-histories"),
    ("DELETE", "/request-histories/one"),
    ("GET", "/request-feed"),
    ("GET", "/request-error-logs"),
    ("GET", "/request-error-logs/error-one.log"),
    ("GET", "/request-log-by-id/one"),
    ("GET", "/request-log-by-id?id=one"),
    ("GET", "/usage/events?request_id=one"),
    ("GET", "/logs"),
)


async def opened(kept: Kept, method: str, path: str, **sent: Any) -> tuple[int, bytes]:
    async with kept.session.request(method, kept.url + path, **sent) as answer:
        return answer.status, await answer.read()


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_a_client_key_opens_no_history_however_it_is_sent(keep: Keep, method: str, path: str) -> None:
    kept = await keep(request_log=True, **{"api-keys": [KEY, OTHER]})
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
    whole = f"/v0/management{path}"
    joined = f"{whole}{'&' if '?' in whole else '?'}"
    ways: list[tuple[str, dict[str, Any]]] = [
        (whole, {"headers": {"Authorization": f"Bearer {OTHER}"}}),
        (whole, {"headers": {"X-Management-Key": OTHER}}),
        (whole, {"headers": {"X-Api-Key": KEY}}),
        (f"{joined}key={OTHER}", {}),
        (whole, {}),
    ]
    for address, sent in ways[:4]:
        status, body = await opened(kept, method, address, **sent)
        assert status in (401, 403), (address, sent)
        assert b"one" not in body.replace(b"none", b"")
    assert (await kept.json("/request-histories"))["requests"][0]["request_id"] == "one"


@pytest.mark.parametrize("path", ["/request-histories", "/v1/request-histories/one", "/request-log-by-id/one"])
async def test_no_such_route_lies_elsewhere(keep: Keep, path: str) -> None:
    kept = await keep(request_log=True)
    await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
    status, body = await opened(kept, "GET", path, headers={"Authorization": f"Bearer {KEY}"})
    assert status == 404
    assert b'"messages"' not in body


async def test_an_id_that_another_client_used_shows_and_changes_nothing(keep: Keep) -> None:
    """A client may choose its request id; taking another's gives it its own answer and a history of its own."""
    kept = await keep(request_log=True, usage_statistics_enabled=True, **{"api-keys": [KEY, OTHER]})
    mine = {**CHAT, "messages": [{"role": "user", "content": "of the first"}]}
    theirs = {**CHAT, "messages": [{"role": "user", "content": "of the second"}]}
    await kept.ask("/v1/chat/completions", mine, X_Request_Id="same")
    first = await kept.text("same")
    status, answer = await kept.ask(
        "/v1/chat/completions", theirs, X_Request_Id="same", Authorization=f"Bearer {OTHER}"
    )
    assert status == 200
    assert b"of the first" not in answer
    assert await kept.text("same") == first
    second = await kept.text("same.2")
    assert "of the second" in second
    assert "of the first" not in second
    shown = [await kept.json(f"/request-histories/{identity}") for identity in ("same", "same.2")]
    assert shown[0]["client"] != shown[1]["client"]


async def test_answers_kept_under_an_id_are_not_given_to_other_clients(keep: Keep) -> None:
    """An id of an answer (``previous_response_id``) is no way to what somebody else was told."""
    kept = await keep(request_log=True, **{"api-keys": [KEY, OTHER]})
    asked = {"model": "codex", "input": "of the first"}
    _, answer = await kept.ask("/v1/responses", asked, X_Request_Id="one")
    identity = orjson.loads(answer)["id"]
    for headers in ({"Authorization": f"Bearer {OTHER}"}, {"Authorization": f"Bearer {KEY}"}):
        status, body = await opened(kept, "GET", f"/v1/responses/{identity}", headers=headers)
        assert status >= 400
        assert b"of the first" not in body


async def test_what_is_told_as_it_happens_is_told_to_the_management_key_only(keep: Keep) -> None:
    kept = await keep()
    url = f"{kept.url}/v0/management/request-feed"
    feed = kept.session.get(url, headers={"Authorization": f"Bearer {MANAGEMENT_KEY}"})
    async with feed as right, kept.session.get(url, headers={"Authorization": f"Bearer {KEY}"}) as wrong:
        assert (right.status, wrong.status) == (200, 401)
        await right.content.readline()
        await kept.ask("/v1/chat/completions", CHAT, X_Request_Id="one")
        async with asyncio.timeout(5):
            assert orjson.loads(await right.content.readline())["request_id"] == "one"
        assert b"one" not in await _rest(wrong)


async def _rest(answer: aiohttp.ClientResponse) -> bytes:
    return await answer.read()
