"""Messages routes."""

from __future__ import annotations

from aiohttp import web

from cpa.server.surfaces.calling import answer_json


async def messages(request: web.Request) -> web.StreamResponse:
    """``POST /v1/messages``."""
    return await answer_json(request, "claude")


async def count_tokens(request: web.Request) -> web.StreamResponse:
    """``POST /v1/messages/count_tokens``."""
    return await answer_json(request, "claude", operation="count")


def add_routes(router: web.UrlDispatcher) -> None:
    """Mount the routes."""
    router.add_post("/v1/messages", messages)
    router.add_post("/v1/messages/count_tokens", count_tokens)
