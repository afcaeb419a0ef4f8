"""The OpenAPI 3.1 description of the management API, made from its routes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from aiohttp import web

from cpa import __version__
from cpa.config import config_schema
from cpa.management.answers import answer
from cpa.management.route import CONFIGURATION, Route

_SCHEMAS = "#/components/schemas/"
_REFERENCE = re.compile(r'"#/components/schemas/(\w+)"')
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


_TEXT = {"type": "string"}
_ERROR = {"error": {"type": "string"}, "message": {"type": "string"}}
_ERRORS: dict[str, Any] = {
    "Error": {
        "description": "What panels and scripts read.",
        "type": "object",
        "properties": _ERROR,
        "required": ["error"],
    },
    "Problem": {
        "description": "RFC 9457, for whoever accepts application/problem+json. ``code`` never changes.",
        "type": "object",
        "properties": {
            **_ERROR,
            "type": {"type": "string", "format": "uri"},
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
        },
        "required": ["error", "type", "title", "status", "detail", "code"],
    },
}
_ERROR_CONTENT = {
    "application/json": {"schema": {"$ref": "#/components/schemas/Error"}},
    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the state that the change is made for; 412 when the file has another",
    "schema": _TEXT,
}
_WARNINGS = {
    "description": "What may not do what its author wants; absent where nothing is doubtful",
    "type": "array",
    "items": {"type": "object", "properties": {"path": _TEXT, "message": _TEXT}, "required": ["path", "message"]},
}
_ALWAYS = (401, 403, 404, 500)
_OF_WRITES = (409, 412, 413)


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
            "schemas": {**_ERRORS, **_sections(paths)},
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
    if route.tag == CONFIGURATION and route.method != "GET":
        parameters.append(_IF_MATCH)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        operation["requestBody"] = {"content": {route.body_type: {"schema": route.body}}}
    return operation


def _responses(route: Route) -> dict[str, Any]:
    writes = route.tag == CONFIGURATION and route.method != "GET"
    told = _with_warnings(route.answer) if writes else route.answer
    responses: dict[str, Any] = {
        str(status): {"description": "Done", "content": {route.answer_type: {"schema": told}}}
        for status in route.statuses
    }
    sent = (413,) if route.body is not None else ()
    for status in sorted({*_ALWAYS, *(_OF_WRITES if writes else ()), *sent, *route.refusals}):
        content: dict[str, Any] = dict(_ERROR_CONTENT)
        if status == 404:
            content["text/plain"] = {"schema": _TEXT}
        responses[str(status)] = {"description": _REASONS[status], "content": content}
    if writes or route.tag == CONFIGURATION:
        etag = {"description": "The state of the configuration file", "schema": _TEXT}
        responses["200"]["headers"] = {"ETag": etag}
    return responses


def _with_warnings(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an answer that may say what is doubtful about what was written."""
    if "properties" not in schema:
        return schema
    return {**schema, "properties": {**schema["properties"], "warnings": _WARNINGS}}


def _sections(paths: dict[str, Any]) -> dict[str, Any]:
    """The schemas of the configuration's sections that the routes refer to, and those that these refer to."""
    schema = config_schema()
    known = json.loads(json.dumps(schema["$defs"]).replace("#/$defs/", _SCHEMAS))
    wanted: dict[str, Any] = {}
    waiting = _references(paths)
    while waiting:
        name = waiting.pop()
        if name in known and name not in wanted:
            wanted[name] = known[name]
            waiting |= _references(known[name])
    return dict(sorted(wanted.items()))


def _references(value: Any) -> set[str]:
    return set(_REFERENCE.findall(json.dumps(value)))


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
