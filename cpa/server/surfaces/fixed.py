"""Routes that need no key."""

from __future__ import annotations

from aiohttp import web

ENDPOINTS = ["POST /v1/chat/completions", "POST /v1/completions", "GET /v1/models"]


async def health(request: web.Request) -> web.Response:
    """``GET`` and ``HEAD /healthz``."""
    return web.json_response({"status": "ok"})


async def root(request: web.Request) -> web.Response:
    """``GET /`` and the ``HEAD /`` that Claude Code begins with."""
    return web.json_response({"message": "CLI Proxy API Server", "endpoints": ENDPOINTS})


def add_routes(router: web.UrlDispatcher) -> None:
    """Mount the routes."""
    router.add_get("/healthz", health)
    router.add_get("/", root)
