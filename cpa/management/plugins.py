"""``/plugins``: what became of every plugin, and how it behaves."""

from __future__ import annotations

import msgspec
from aiohttp import web

from cpa.management.answers import answer
from cpa.management.route import Route
from cpa.management.services import Management


def routes(management: Management) -> list[Route]:
    """The one route."""

    async def show(request: web.Request) -> web.Response:
        return answer({"plugins": [msgspec.to_builtins(status) for status in management.plugins.statuses]})

    text = {"type": "string"}
    plugin = {
        "name": text,
        "state": {"enum": ["loaded", "disabled", "failed", "suspended"]},
        "reason": text,
        "distribution": text,
        "faults": {"type": "integer", "minimum": 0},
    }
    shown = {"type": "array", "items": {"type": "object", "properties": plugin, "required": list(plugin)}}
    return [
        Route(
            method="GET",
            path="/plugins",
            handler=show,
            summary="Plugins and how they behave",
            tag="Daemon",
            answer={"type": "object", "properties": {"plugins": shown}, "required": ["plugins"]},
            refusals=(),
        )
    ]
