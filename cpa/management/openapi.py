"""The OpenAPI 3.1 description of the management API, made from its routes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from cpa import __version__
from cpa.management.answers import answer
from cpa.management.route import Route

_PARAMETER = re.compile(r"\{(\w+)\}")
_REASONS = {
    400: "The request is wrong",
    401: "The key is missing or wrong",
    403: "Not from here, or not to there",
    404: "No such thing, or no management API",
    409: "Not now",
    412: "The configuration was changed meanwhile",
    413: "The body is too large",
    429: "Too much at once",
    422: "Valid YAML that is no valid configuration",
    500: "It could not be done",
    502: "The other side failed",
    503: "Not ready",
}


def describe(routes: Iterable[Route], prefix: str) -> dict[str, Any]:
    """The document for ``routes`` mounted below ``prefix``."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(prefix + route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cpa management API",
            "version": __version__,
            "description": "Settings, accounts, usage and logs of a running cpa.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"header": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-Management-Key"},
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
                    "required": ["error"],
                }
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    name = _PARAMETER.sub(r"\1", route.path).strip("/")
    operation: dict[str, Any] = {
        "operationId": route.method.lower() + "".join(part.title() for part in re.split(r"[^0-9A-Za-z]+", name)),
        "summary": route.summary,
        "tags": [route.tag],
        "responses": _responses(route),
    }
    parameters: list[dict[str, Any]] = [
        {"name": found, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for found in _PARAMETER.findall(route.path)
    ]
    parameters += [
        {
            "name": query.name,
            "in": "query",
            "required": query.required,
            "description": query.description,
            "schema": query.schema,
        }
        for query in route.query
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"content": {route.body_type: {"schema": route.body}}}
    return operation


def _responses(route: Route) -> dict[str, Any]:
    responses: dict[str, Any] = {
        str(status): {"description": "Done", "content": {route.answer_type: {"schema": route.answer}}}
        for status in route.statuses
    }
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status in sorted({401, 403, 404, 500, *route.refusals}):
        content = {} if status == 404 else {"content": error}
        responses[str(status)] = {"description": _REASONS[status], **content}
    return responses


def description_route(routes: list[Route], prefix: str) -> Route:
    """``GET /openapi.json`` for ``routes`` and itself."""

    async def get(request: web.Request) -> web.Response:
        return answer(describe([*routes, route], prefix))

    route = Route(
        method="GET",
        path="/openapi.json",
        handler=get,
        summary="This description",
        tag="Daemon",
        answer={"type": "object"},
        refusals=(),
    )
    return route
