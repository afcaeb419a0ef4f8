"""What Codex tells in the middle of streams: its quota, and that it cannot go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from oauth_daemon import KEY, auth_file, daemon_over, vendors
from oauth_upstream import OAuthUpstream

from cpa.daemon import Daemon

LIMITS = {
    "type": "codex.rate_limits",
    "rate_limits": {"primary": {"used_percent": 40, "window_minutes": 300, "reset_after_seconds": 600}},
}
CREATED = {"type": "response.created", "response": {"id": "r", "model": "m", "created_at": 1, "output": []}}


def sse(event: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))


@asynccontextmanager
async def codex(folder: Path, logins: int = 1) -> AsyncIterator[tuple[OAuthUpstream, Daemon]]:
    with vendors() as (upstream, url):
        files = {f"{n}.json": auth_file(upstream.provider.login("codex", f"u{n}")) for n in range(logins)}
        async with daemon_over(folder, url, files, routing={"strategy": "fill-first"}) as daemon:
            yield upstream, daemon


async def ask(daemon: Daemon, path: str, stream: bool) -> tuple[int, bytes]:
    body: dict[str, Any] = {"model": "gpt-5.5", "stream": stream}
    body |= {"input": "hi"} if "responses" in path else {"messages": [{"role": "user", "content": "hi"}]}
    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"http://{daemon.addresses[0]}{path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.read()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_an_event_about_limits_is_known_to_the_pool(tmp_path: Path, path: str, stream: bool) -> None:
    async with codex(tmp_path) as (upstream, daemon):
        upstream.before = [sse(LIMITS)[:40], sse(LIMITS)[40:]]
        status, body = await ask(daemon, path, stream)
        assert status == 200
        if path == "/v1/chat/completions":
            assert b"rate_limits" not in body
        [window] = daemon.pool.quota("0.json")
        assert (window.name, window.used_ratio, window.source) == ("five_hour", 0.4, "event")
        assert window.resets_at == pytest.approx(time.time() + 600, abs=5)


async def test_an_event_about_limits_that_makes_no_sense_harms_nobody(tmp_path: Path) -> None:
    async with codex(tmp_path) as (upstream, daemon):
        broken = [b'data: "codex.rate_limits\n\n', b'data: ["codex.rate_limits"]\n\n']
        upstream.before = [*broken, sse({**LIMITS, "rate_limits": "odd"})]
        assert (await ask(daemon, "/v1/chat/completions", True))[0] == 200
        assert daemon.pool.quota("0.json") == []


FAILED = [
    ({"code": "rate_limit_exceeded", "message": "Try again in 11.054s."}, "model", 11.054),
    (
        {"code": "usage_limit_reached", "type": "usage_limit_reached", "message": "x", "resets_in_seconds": 120},
        "",
        120.0,
    ),
    ({"code": "usage_limit_reached", "message": "x", "resets_at": 4_000_000_000}, "", 8 * 86400.0),
]


@pytest.mark.parametrize(("error", "scope", "seconds"), FAILED)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_limit_told_in_a_stream_cools_and_another_login_answers(
    tmp_path: Path, error: dict[str, Any], scope: str, seconds: float, stream: bool
) -> None:
    async with codex(tmp_path, 2) as (upstream, daemon):
        failed = {"type": "response.failed", "response": {"id": "r", "status": "failed", "error": error}}
        upstream.instead = [sse(CREATED), sse(failed)]
        status, body = await ask(daemon, "/v1/chat/completions", stream)
        assert status == 429, body
        health = daemon.pool.health("0.json")
        block = health.models.get("gpt-5.5") if scope == "model" else health.account
        assert block is not None
        assert block.until - daemon.pool.clock() == pytest.approx(seconds, abs=1)
        assert block.reason == "quota"
        assert len(upstream.seen) == 2
        upstream.instead = None


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_ends_too_early_is_an_error_and_nobodys_fault(tmp_path: Path, stream: bool) -> None:
    async with codex(tmp_path) as (upstream, daemon):
        text = {
            "type": "response.output_text.delta",
            "item_id": "m",
            "output_index": 0,
            "content_index": 0,
            "delta": "x",
        }
        upstream.instead = [sse(CREATED), sse(text)]
        status, body = await ask(daemon, "/v1/chat/completions", stream)
        assert status == 200 if stream else status >= 408
        assert b"error" in body
        assert b"[DONE]" not in body
        upstream.instead = None
        assert (await ask(daemon, "/v1/chat/completions", stream))[0] == 200, "the login did not cool down"


async def test_a_login_that_was_refused_is_refreshed_ahead_of_time_all_the_same(tmp_path: Path) -> None:
    async with codex(tmp_path) as (upstream, daemon):
        daemon.pool.fail("0.json", "gpt-5.5", scope="account", reason="unauthorized", seconds=1800, message="401")
        assert (await ask(daemon, "/v1/chat/completions", False))[0] == 503
        data = auth_file(upstream.provider.logins["codex", "u0"], expired="2020-01-01T00:00:00Z")
        await daemon.auth_files.put("0.json", data)
        for _ in range(200):
            if upstream.provider.granted:
                break
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)
        assert upstream.provider.granted == ["u0"]
        assert (await ask(daemon, "/v1/chat/completions", False))[0] == 200
