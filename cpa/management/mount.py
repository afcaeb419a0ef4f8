"""Put the management API on the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeAlias

import orjson
from aiohttp import hdrs, web

from cpa import __version__
from cpa.config import Config
from cpa.config.notices import ConfigWarning
from cpa.management.answers import Refusal, answer
from cpa.management.lazy_routes import LazyRoutes
from cpa.management.problem import refused
from cpa.management.route import CONFIGURATION, Handler, Route
from cpa.management.services import Management
from cpa.management.writing import WARNINGS, etag

PREFIX = "/v0/management"

Admit: TypeAlias = Callable[[web.Request, Config], Awaitable[None]]
"""Lets a request in, or raises Refusal."""


def mount(
    router: web.UrlDispatcher, management: Management, routes: Callable[[], Iterable[Route]], admit: Admit | None = None
) -> None:
    """Add ``routes``, made when first asked for, every one behind the key, or behind ``admit`` instead."""

    def make(own: web.UrlDispatcher) -> None:
        for route in routes():
            handler = guarded(management, route.handler, admit, tagged=route.tag == CONFIGURATION)
            own.add_route(route.method, PREFIX + route.path, handler)

    router.register_resource(LazyRoutes(PREFIX, make, "cpa.management.resources"))


def guarded(management: Management, handler: Handler, admit: Admit | None = None, *, tagged: bool = False) -> Handler:
    """``handler`` for those who may; errors become JSON, and nothing is cached.

    ``tagged``: the answer shows the configuration and carries its entity tag.
    """

    async def answering(request: web.Request) -> web.StreamResponse:
        config = management.config
        if admit is None and not management.gate.enabled(config):
            text = "" if management.gate.was_enabled else "404 page not found"
            return web.Response(status=404, text=text)
        try:
            await (admit or management.gate.admit)(request, config)
            response = with_warnings(await handler(request), request.get(WARNINGS))
        except Refusal as refusal:
            response = refused(refusal, request)
        except web.HTTPException:
            raise
        except Exception:
            management.log.exception("management request failed", method=request.method, path=request.path)
            response = answer({"error": "internal error", "message": "the daemon's log says more"}, 500)
        if not response.prepared:
            _mark(response)
            if tagged:
                response.headers.setdefault(hdrs.ETAG, etag(management.store))
        return response

    return answering


def with_warnings(response: web.StreamResponse, warnings: list[ConfigWarning] | None) -> web.StreamResponse:
    """The answer to a change, with ``warnings`` where something about it is doubtful; JSON objects can say so."""
    if not warnings or not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    shown = orjson.loads(response.body)
    if isinstance(shown, dict):
        shown["warnings"] = [{"path": warning.path, "message": warning.message} for warning in warnings]
        response.body = orjson.dumps(shown)
    return response


def _mark(response: web.StreamResponse) -> None:
    response.headers["X-CPA-VERSION"] = __version__
    response.headers["X-CPA-COMMIT"] = "none"
    response.headers["X-CPA-BUILD-DATE"] = "unknown"
    response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
