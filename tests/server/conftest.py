"""A daemon in this process with the demo provider, asked over loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from cpa.config import ConfigStore
from cpa.daemon import Daemon

ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("/v1/chat/completions", {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}),
    "openai-response": ("/v1/responses", {"model": "demo", "input": "hi"}),
    "claude": (
        "/v1/messages",
        {"model": "demo", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]},
    ),
    "gemini": ("/v1beta/models/demo:generateContent", {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}),
}
"""Format -> a request of it."""


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:300]!r}"


class Served:
    """A running daemon."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession) -> None:
        self.daemon = daemon
        self.session = session
        self.url = f"http://{daemon.addresses[0]}"

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """A request without a body."""
        return await self._send(method, path, None, headers)

    async def post(self, path: str, body: Any = None, *, data: Any = None, **headers: str) -> Answer:
        """``body`` is sent as JSON, ``data`` as it is."""
        return await self._send("POST", path, orjson.dumps(body) if body is not None else data, headers)

    async def ask(self, format_name: str = "openai", **headers: str) -> Answer:
        """The request of a format."""
        path, body = ROUTES[format_name]
        return await self.post(path, body, **headers)

    async def _send(self, method: str, path: str, data: Any, headers: Mapping[str, str]) -> Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(method, self.url + path, data=data, headers=sent) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


Serve = Callable[..., Any]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a daemon with some configuration: ``await serve("api-keys: [k]\\n")``."""
    running: list[Daemon] = []
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def begin(more: str = "", *, host: str = "127.0.0.1") -> Served:
            path = tmp_path / f"config-{len(running)}.yaml"
            path.write_text(f"host: {host}\nport: 0\nauth-dir: {tmp_path}/auth\n{more}")
            daemon = Daemon(ConfigStore(path, {}), {"XDG_RUNTIME_DIR": str(tmp_path / "run")})
            running.append(daemon)
            await daemon.start()
            return Served(daemon, session)

        yield begin
        for daemon in running:
            await daemon.stop()
