"""Messages routes."""

from __future__ import annotations

from cpa.exchange.call import Answer
from cpa.server.request import Request
from cpa.server.surface import Routes
from cpa.server.surfaces.calling import answer_json


async def messages(request: Request) -> Answer:
    """``POST /v1/messages``."""
    return await answer_json(request, "claude")


async def count_tokens(request: Request) -> Answer:
    """``POST /v1/messages/count_tokens``."""
    return await answer_json(request, "claude", operation="count")


def add_routes(routes: Routes) -> None:
    """Mount the routes."""
    routes.add("POST", "/v1/messages", messages)
    routes.add("POST", "/v1/messages/count_tokens", count_tokens)
