"""``/model-routes``: names that stand for several models."""

from __future__ import annotations

from typing import Any

from cpa.config.sections import ModelRoute
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

    def shown(self) -> list[Any]:
        """Every member spelled out."""
        return [route.model_dump(mode="json", by_alias=True) for route in self.management.config.model_routes]


def routes(management: Management) -> list[Route]:
    """The four routes."""
    return ModelRoutes(management).routes()
