"""The yardstick: a bare aiohttp + uvloop proxy that parses the request, forwards it and relays the answer."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import aiohttp
import orjson
import uvloop
from aiohttp import web


def build(upstream: str) -> web.Application:
    """Forward every POST to the same path below ``upstream``."""

    async def session(app: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            app["client"] = client
            yield

    async def handle(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        orjson.loads(body)
        headers = {"Content-Type": "application/json", "X-Bench": request.headers.get("X-Bench", "whole")}
        client: aiohttp.ClientSession = request.app["client"]
        async with client.post(upstream + request.path_qs, data=body, headers=headers) as answer:
            if answer.content_type != "text/event-stream":
                return web.Response(body=await answer.read(), content_type="application/json")
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    app = web.Application(client_max_size=1 << 30)
    app.cleanup_ctx.append(session)
    app.router.add_post("/{rest:.*}", handle)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(build(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
