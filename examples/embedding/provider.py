"""A provider of your own: a server that speaks Chat Completions and wants a header of its own.

Clients of every format reach it, streaming or not; cpa selects, retries, translates and records.

    python examples/embedding/provider.py
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.plugins import Account, Model, Provider, UpstreamRequest, hookimpl


class House(Provider):
    """Says what is peculiar to the server: its accounts, its models, its URL and headers."""

    name = "house"
    format = "openai"

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key

    def accounts_from_config(self, config: Any) -> Iterable[Account]:
        """One account."""
        yield Account(id="house", provider=self.name, label="house", secret=self._key, base_url=self._url)

    def models(self, account: Account, builtin: Any) -> Iterable[Model]:
        """One model."""
        return [Model(id="house-model", user_defined=True)]

    def prepare(self, request: UpstreamRequest) -> None:
        """Called for every attempt, after translation."""
        request.url = f"{request.account.base_url}/chat/completions"
        request.headers = {"Content-Type": "application/json", "X-House-Key": request.account.secret}


class HousePlugin:
    """Gives the provider to cpa."""

    def __init__(self, url: str) -> None:
        self._provider = House(url, "house-key")

    @hookimpl
    def cpa_providers(self) -> Iterable[Provider]:
        """The providers this plugin adds."""
        return [self._provider]


async def house(request: web.Request) -> web.Response:
    """The server, to keep the example in one file."""
    if request.headers.get("X-House-Key") != "house-key":
        return web.json_response({"error": {"message": "who are you?"}}, status=401)
    asked = await request.json()
    message = {"role": "assistant", "content": f"The house heard: {asked['messages'][-1]['content']}"}
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    answer = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"], "choices": [choice]}
    return web.json_response({**answer, "usage": usage})


async def main() -> str:
    """Ask the provider in Anthropic's format. Gives the answer's text."""
    application = web.Application()
    application.router.add_post("/v1/chat/completions", house)
    async with TestServer(application, host="127.0.0.1") as server:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.yaml"
            path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {folder}/auth\n")
            daemon = Daemon(ConfigStore(path))
            daemon.plugins.register(HousePlugin(str(server.make_url("/v1"))), "house", daemon.store.current)
            async with daemon, aiohttp.ClientSession() as session:
                body = {"model": "house-model", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
                async with session.post(f"http://{daemon.addresses[0]}/v1/messages", json=body) as answer:
                    reply = await answer.json()
    text: str = reply["content"][0]["text"]
    print(text)
    return text


if __name__ == "__main__":
    asyncio.run(main())
