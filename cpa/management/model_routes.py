"""``/model-routes``: names that stand for several models."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from cpa.config.sections import ModelRoute
from cpa.management.answers import Refusal, ok
from cpa.management.list_resource import ListResource
from cpa.management.route import Route, schema_of
from cpa.management.services import Management


class ModelRoutes(ListResource):
    """The list of routes."""

    key = "model-routes"
    identity = "alias"
    appends = True
    item_schema = schema_of(ModelRoute)

    def changed(self, known: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
        """Members that are given replace."""
        return {**known, **value}

    async def put(self, request: web.Request) -> web.Response:
        """Replace the list; the answer holds what is in force. Errors have codes of their own."""
        try:
            await super().put(request)
        except Refusal as refusal:
            if refusal.status != 400:
                raise
            said = refusal.body.get("message", "expected a list of routes")
            code = "invalid_json" if refusal.body["error"] == "invalid body" else "invalid_model_routes"
            raise Refusal(400, code, said) from None
        return ok(**{"ok": True, self.key: self.shown()})

    def shown(self) -> list[Any]:
        """Every member spelled out."""
        return [route.plain() for route in self.management.config.model_routes]


def routes(management: Management) -> list[Route]:
    """The four routes."""
    return ModelRoutes(management).routes()
