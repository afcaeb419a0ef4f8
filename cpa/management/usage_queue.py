"""``GET /usage-queue``: pop finished attempts."""

from __future__ import annotations

from aiohttp import web

from cpa.management.answers import Refusal
from cpa.management.route import Query, Route
from cpa.management.services import Management

LARGEST_COUNT = 100_000


def routes(management: Management) -> list[Route]:
    """The one route."""

    async def pop(request: web.Request) -> web.Response:
        text = request.query.get("count", "1").strip()
        if not (text.isascii() and text.isdigit()) or int(text[:9]) < 1:
            raise Refusal(400, "count must be a positive integer")
        items = management.usage_queue.pop(min(int(text[:9]), LARGEST_COUNT))
        return web.Response(body=b"[" + b",".join(items) + b"]", content_type="application/json")

    return [
        Route(
            method="GET",
            path="/usage-queue",
            handler=pop,
            summary="Pop finished attempts",
            tag="Usage",
            query=(Query("count", "How many at most, 1 unless told", {"type": "integer", "minimum": 1}),),
            answer={"type": "array", "items": {"type": "object"}},
        )
    ]
