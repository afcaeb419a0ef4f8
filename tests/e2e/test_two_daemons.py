"""Two daemons, each a process of its own, on one auth directory: every login is refreshed exactly once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import orjson
import pytest
from oauth_daemon import KEY, auth_file, vendors
from oauth_upstream import OAuthUpstream, oauth_settings
from running import RunningDaemon, free_port

from cpa.plugins.oauth import time_text

MODELS = {"claude": "claude-sonnet-4-6", "codex": "gpt-5.5"}


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[OAuthUpstream, list[RunningDaemon]]]:
    """A Claude login that is good for an hour, and a ChatGPT login that has to be refreshed at once."""
    with vendors() as (upstream, url):
        auth = tmp_path / "auth"
        auth.mkdir()
        upstream.provider.delay = 0.3
        upstream.provider.expires_in = 20 * 86400
        settings = oauth_settings(url)
        for vendor in MODELS:
            settings[vendor]["base-url"] = f"{url}/api/{vendor}"
            ends = time.time() + (20 * 86400 if vendor == "claude" else 600)
            data = auth_file(upstream.provider.login(vendor, vendor), expired=time_text(ends))
            (auth / f"{vendor}.json").write_bytes(orjson.dumps(data))
        daemons = []
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            config = {
                "host": "127.0.0.1",
                "port": free_port(),
                "auth-dir": str(auth),
                "api-keys": [KEY],
                "usage-database-path": str(tmp_path / name / "usage.sqlite"),
                "plugins": {"configs": settings},
            }
            daemons.append(RunningDaemon(config, tmp_path / name))
        yield upstream, daemons
        for daemon in daemons:
            assert daemon.stop() == 0, daemon.output()


async def ask(daemon: RunningDaemon, model: str) -> int:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{daemon.url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        return answer.status


async def test_two_daemons_refresh_each_login_once(two: tuple[OAuthUpstream, list[RunningDaemon]]) -> None:
    upstream, daemons = two
    for _ in range(200):
        if upstream.provider.granted and len(upstream.provider.calls) == len(upstream.provider.granted):
            break
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.5)
    assert upstream.provider.granted == ["codex"], "ahead of time, by whoever was first"
    upstream.provider.end_tokens()
    statuses = await asyncio.gather(
        *(ask(daemon, model) for daemon in daemons for model in MODELS.values() for _ in range(3))
    )
    assert statuses == [200] * 12
    assert sorted(upstream.provider.granted) == ["claude", "codex", "codex"]
    assert len(upstream.provider.calls) == 3, "nobody spent a refresh token in vain"
