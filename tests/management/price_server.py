"""A server that publishes lists of prices, well or badly."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

PAID = {"input_cost_per_token": 1.25e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-07}
LITELLM: dict[str, Any] = {
    "sample_spec": PAID,
    "gpt-5": PAID,
    "moonshot/kimi-x9": {"input_cost_per_token": 6e-07, "output_cost_per_token": 2.5e-06},
    "openrouter/moonshot/kimi-x9": {"input_cost_per_token": 9e-07, "output_cost_per_token": 9e-06},
    "demo": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
    "half": {"output_cost_per_token": 1e-06},
    "negative": {**PAID, "input_cost_per_token": -1e-06},
    "text": {**PAID, "input_cost_per_token": "1e-06"},
}
MODELS_DEV: dict[str, Any] = {
    "openai": {"models": {"gpt-5": {"cost": {"input": 1.25, "output": 10, "cache_read": 0.125}}}},
    "a-shop": {"models": {"gpt-5": {"cost": {"input": 2, "output": 20}}}},
}


class PriceServer:
    """What it answers is set by the test: ``litellm``, ``models_dev``, or the path of a bad answer in ``bad``."""

    def __init__(self) -> None:
        self.litellm = dict(LITELLM)
        self.bad = ""
        self.asked: list[web.Request] = []
        self.url = ""

    @property
    def config(self) -> str:
        """The lines of a configuration that point here."""
        return f"price-sources: {{litellm: '{self.url}/litellm.json', models-dev: '{self.url}/api.json'}}\n"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if self.bad:
            return await self._badly(request)
        content = orjson.dumps(MODELS_DEV if request.path == "/api.json" else self.litellm)
        etag = f'"{hash(content)}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304)
        return web.Response(body=content, headers={"ETag": etag}, content_type="text/plain")

    async def _badly(self, request: web.Request) -> web.StreamResponse:
        if self.bad == "redirect":
            raise web.HTTPFound("http://169.254.169.254/latest")
        if self.bad == "error":
            return web.Response(status=503, text="try later")
        if self.bad == "html":
            return web.Response(text="<html>not found</html>")
        if self.bad == "empty":
            return web.Response(body=b"{}")
        if self.bad == "unasked":
            return web.Response(status=304)
        if self.bad == "bomb":
            packed = gzip.compress(b" " * 60 * 2**20)
            return web.Response(body=packed, headers={"Content-Encoding": "gzip"})
        response = web.StreamResponse()
        await response.prepare(request)
        if self.bad == "huge":
            await response.write(b'{"a": "')
            for _ in range(22):
                await response.write(b"x" * 2**20)
        elif self.bad == "slow":
            for _ in range(100):
                await response.write(b" ")
                await asyncio.sleep(0.05)
        elif self.bad == "broken off":
            await response.write(b'{"gpt-5"')
            assert request.transport is not None
            request.transport.abort()
        return response


@asynccontextmanager
async def price_server() -> AsyncIterator[PriceServer]:
    """A server on a free port of this machine."""
    prices = PriceServer()
    app = web.Application()
    app.router.add_get("/{name}", prices.answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    prices.url = str(server.make_url("")).rstrip("/")
    try:
        yield prices
    finally:
        await server.close()
