"""What a surface is: routes, and for each a function from a request to its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec import Struct

from cpa.exchange.call import Answer
from cpa.server.request import Request

Surface: TypeAlias = Callable[[Request], Awaitable[Answer]]
"""Answers a request. Errors are answers in the client's format; what it raises is a bug, or a client that went away."""


class Route(Struct, frozen=True):
    """One route."""

    method: str
    beginning: str
    """The path; with ``rest`` what it begins with."""
    surface: Surface
    rest: str = ""
    """What the rest of the path is called, which the surface reads itself; empty when there is none."""

    @property
    def name(self) -> str:
        """As metrics and routers show it."""
        return f"{self.beginning}{{{self.rest}}}" if self.rest else self.beginning


class Routes:
    """Finds routes by method and path."""

    def __init__(self) -> None:
        self.all: list[Route] = []
        self._whole: dict[tuple[str, str], Route] = {}
        self._open: list[Route] = []

    def add(self, method: str, beginning: str, surface: Surface, rest: str = "") -> None:
        """Add one; those added first win."""
        route = Route(method, beginning, surface, rest)
        self.all.append(route)
        if rest:
            self._open.append(route)
        else:
            self._whole.setdefault((method, beginning), route)

    def find(self, method: str, path: str) -> Route | None:
        """The route of a decoded path."""
        route = self._whole.get((method, path))
        if route is not None:
            return route
        for route in self._open:
            if route.method == method and path.startswith(route.beginning) and len(path) > len(route.beginning):
                return route
        return None


def rest_of(request: Request, *beginnings: str) -> str:
    """What follows the beginning of a request's path. Raises StopIteration for a path that has none of them."""
    return next(request.path[len(start) :] for start in beginnings if request.path.startswith(start))
