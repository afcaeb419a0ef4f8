"""Let a plugin say what its routes of the management API take and give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from msgspec import Struct

_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_ATTRIBUTE = "cpa_route_description"


class RouteDescription(Struct, frozen=True):
    """What the OpenAPI document says of a route. Bodies are JSON schemas; None where there is none."""

    summary: str
    body: dict[str, Any] | None = None
    answer: dict[str, Any] = {}
    refusals: tuple[int, ...] = (400,)
    """Statuses of refusals beyond those that every route has."""


def described(
    summary: str,
    *,
    body: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    refusals: tuple[int, ...] = (400,),
) -> Callable[[_Handler], _Handler]:
    """Decorate a handler that ``cpa_management_routes`` adds; without it its docstring's first line is the summary."""
    description = RouteDescription(summary, body, answer or {}, refusals)

    def mark(handler: _Handler) -> _Handler:
        setattr(handler, _ATTRIBUTE, description)
        return handler

    return mark


def description_of(handler: Any, method: str) -> RouteDescription:
    """A handler's description; what can be known of it when it gives none."""
    found = getattr(handler, _ATTRIBUTE, None)
    if isinstance(found, RouteDescription):
        return found
    summary = ((getattr(handler, "__doc__", None) or "").strip().splitlines() or ["Added by a plugin"])[0]
    body: dict[str, Any] | None = {} if method in ("POST", "PUT", "PATCH") else None
    return RouteDescription(summary, body)
