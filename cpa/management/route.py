"""One route of the management API, with what its description says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiohttp import web
from msgspec import Struct, field

from cpa.config.section import Section

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Schema: TypeAlias = dict[str, Any]

CONFIGURATION = "Configuration"
"""Tag of the routes that show or change ``config.yaml``."""

STATUS_OK: Schema = {
    "type": "object",
    "properties": {"status": {"const": "ok"}},
    "required": ["status"],
}
"""``{"status": "ok"}``"""


def schema_of(section: type[Section]) -> Schema:
    """A reference to the schema of a section of the configuration."""
    return {"$ref": f"#/components/schemas/{section.__name__}"}


class Query(Struct, frozen=True):
    """A query parameter."""

    name: str
    description: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    required: bool = False


class Route(Struct, kw_only=True):
    """A method and path below ``/v0/management`` and the function that answers it."""

    method: str
    path: str
    """``/auth-files/{name}``"""
    handler: Handler
    summary: str
    """One line for the description."""
    tag: str = CONFIGURATION
    query: tuple[Query, ...] = ()
    body: Schema | None = None
    """JSON schema of the request's body; None when there is none."""
    body_type: str = "application/json"
    answer: Schema = field(default_factory=lambda: STATUS_OK)
    """JSON schema of the 200 answer."""
    answer_type: str = "application/json"
    statuses: tuple[int, ...] = (200,)
    """Statuses of answers that are no refusal."""
    refusals: tuple[int, ...] = (400,)
    """Statuses beyond those that every route has (401, 403, 404 when disabled)."""
