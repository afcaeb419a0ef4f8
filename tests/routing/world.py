"""A daemon in this process between its clients and an upstream that answers each account as scripted."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from aiohttp import web

from cpa.config import ConfigStore
from cpa.daemon import Daemon

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from scripted import Script, ScriptedUpstream

ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
    "openai-response": ("/v1/responses", {"input": "hi"}),
    "claude": ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}),
    "gemini": ("/v1beta/models/{model}:", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}


class Answer:
    """What a client got."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)

    @property
    def by(self) -> str:
        """The key of the account that answered; empty when it is an error."""
        found = self.body.partition(b"by ")[2]
        return found.partition(b'"')[0].decode()

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:300]!r}"


class World:
    """``ahead`` seconds have passed since the start on the daemon's clocks, ``skew`` more on that of the wall."""

    def __init__(self, upstream: ScriptedUpstream, url: str, folder: Path, session: aiohttp.ClientSession) -> None:
        self.upstream = upstream
        self.scripts = upstream.scripts
        self.url = url
        self.folder = folder
        self.session = session
        self.ahead = self.skew = 0.0
        self.daemon: Daemon | None = None

    @property
    def asked(self) -> list[str]:
        """Keys in the order in which they were used."""
        return self.upstream.asked

    def account(self, key: str, **more: Any) -> dict[str, Any]:
        """One provider with one key that offers ``m``; ``more`` are keys of its entry."""
        entry = {"name": key, "base-url": f"{self.url}/v1", "api-key-entries": [{"api-key": key}]}
        return {**entry, "models": [{"name": "m-up", "alias": "m"}], **more}

    async def start(self, *accounts: str | dict[str, Any], **settings: Any) -> None:
        """Start the daemon; an account that is only a name has nothing special."""
        entries = [self.account(entry) if isinstance(entry, str) else entry for entry in accounts]
        config = {
            "host": "127.0.0.1",
            "port": 0,
            "auth-dir": str(self.folder / "auth"),
            "usage-database-path": str(self.folder / "usage.sqlite"),
            "openai-compatibility": entries,
            **settings,
        }
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        self.daemon = Daemon(ConfigStore(path, {}), {"XDG_RUNTIME_DIR": str(self.folder / "run")})
        self.daemon.pool.clock = lambda: time.monotonic() + self.ahead
        self.daemon.pool.wall = lambda: time.time() + self.ahead + self.skew
        await self.daemon.start()

    async def stop(self) -> None:
        """Stop the daemon."""
        if self.daemon is not None:
            await self.daemon.stop()
            self.daemon = None

    async def ask(
        self,
        kind: str = "openai",
        *,
        model: str = "m",
        stream: bool = False,
        text: str = "hi",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """One request of a format."""
        path, body = ROUTES[kind]
        body = orjson.loads(orjson.dumps(body).replace(b'"hi"', orjson.dumps(text)))
        if kind == "gemini":
            path = path.format(model=model) + ("streamGenerateContent?alt=sse" if stream else "generateContent")
        else:
            body = {**body, "model": model, "stream": stream}
        assert self.daemon is not None
        url = f"http://{self.daemon.addresses[0]}{path}"
        async with self.session.post(url, json=body, headers=headers or {}) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def served_by(self, times: int, **options: Any) -> list[str]:
        """Who answered that many requests, one after the other."""
        return [(await self.ask(**options)).by for _ in range(times)]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """Nothing is started yet."""
    upstream = ScriptedUpstream()
    runner = web.AppRunner(upstream.app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        world = World(upstream, f"http://127.0.0.1:{runner.addresses[0][1]}", tmp_path, session)
        yield world
        upstream.hold.set()
        await world.stop()
    await runner.cleanup()


__all__ = ["Answer", "Script", "World", "world"]
