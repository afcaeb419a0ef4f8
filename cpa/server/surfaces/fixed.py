"""Routes that need no key."""

from __future__ import annotations

from cpa.exchange.call import Answer
from cpa.server.answers import json_answer
from cpa.server.request import Request
from cpa.server.surface import Routes

ENDPOINTS = ["POST /v1/chat/completions", "POST /v1/completions", "GET /v1/models"]


async def health(request: Request) -> Answer:
    """``GET`` and ``HEAD /healthz``."""
    return json_answer({"status": "ok"})


async def root(request: Request) -> Answer:
    """``GET /`` and the ``HEAD /`` that Claude Code begins with."""
    return json_answer({"message": "CLI Proxy API Server", "endpoints": ENDPOINTS})


def add_routes(routes: Routes) -> None:
    """Mount the routes."""
    for method in ("GET", "HEAD"):
        routes.add(method, "/healthz", health)
        routes.add(method, "/", root)
