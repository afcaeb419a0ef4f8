"""The aiohttp application."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

from cpa.config import Config
from cpa.exchange.recorder import CLIENT_GONE, Recorder
from cpa.server.bodies import RECORDER
from cpa.server.clients import Doorkeeper, host_allowed, peer_address
from cpa.server.connections import connection_of
from cpa.server.headers import MANAGEMENT, allowed_origin, common_headers
from cpa.server.keys import CONFIG, REQUEST_ID
from cpa.server.services import SERVICES, Services
from cpa.server.surfaces import claude, fixed, gemini, images, models, openai
from cpa.server.surfaces.calling import DOORKEEPER, EXCHANGED

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_REQUEST = 4 * 1024 * 1024 * 1024
"""aiohttp's own limit; ours (``max-body-size``) is checked against the live configuration."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_HEADERS = "Authorization, Content-Type, If-Match, X-Api-Key, X-Goog-Api-Key, X-Management-Key"
_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_SECRET_QUERY = re.compile(r"(?i)([?&](?:key|[^=&]*(?:api-?_?key|token|secret)[^=&]*|code|state)=)[^&]*")


def create_app(services: Services) -> web.Application:
    """The application with every route."""
    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[_around])
    app[SERVICES] = services
    app[DOORKEEPER] = Doorkeeper(services)
    for surface in (openai, claude, gemini, models, images, fixed):
        surface.add_routes(app.router)
    if services.add_routes is not None:
        services.add_routes(app.router)
    app.on_response_prepare.append(_common_headers)
    return app


@web.middleware
async def _around(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Request id, snapshot, Host check, preflight, trailing slash, access line."""
    services = request.app[SERVICES]
    config = request[CONFIG] = services.config()
    request[REQUEST_ID] = _request_id(request)
    recorder = _recorder(request, config, services)
    begun = time.monotonic()
    status, response = 500, None
    connection = connection_of(request)
    if connection is not None:
        connection.request_began()
    try:
        response = await _answer(request, handler, config)
        status = response.status
        return response
    except (asyncio.CancelledError, ConnectionError):
        status = CLIENT_GONE
        raise
    finally:
        if connection is not None:
            connection.request_ended()
        if recorder is not None and services.histories is not None:
            recorder.finish(status, response)
            services.histories.end(recorder)
        if services.count_answer is not None:
            services.count_answer(_route(request), status)
        if not request.get(EXCHANGED):
            level = (
                services.log.error if status >= 500 else services.log.warning if status >= 400 else services.log.info
            )
            level(
                "request",
                request_id=request[REQUEST_ID],
                peer=peer_address(request, config),
                method=request.method,
                path=_SECRET_QUERY.sub(r"\1***", request.path_qs),
                status=status,
                duration_ms=round((time.monotonic() - begun) * 1000),
            )


def _recorder(request: web.Request, config: Config, services: Services) -> Recorder | None:
    """What notes the request for its history, None when none is kept."""
    if services.histories is None:
        return None
    recorder = services.histories.begin(
        config, request[REQUEST_ID], request.method, request.path, request.path_qs, request.headers
    )
    if recorder is not None:
        request[RECORDER] = recorder
    return recorder


def _route(request: web.Request) -> str:
    """The pattern of the request's path; the same for all paths that nobody serves."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "other"


async def _answer(request: web.Request, handler: Handler, config: Config) -> web.StreamResponse:
    if not host_allowed(request, config):
        return web.Response(status=421, text="this host name is not allowed (allowed-hosts)")
    if request.method == hdrs.METH_OPTIONS:
        return _preflight(request, config)
    try:
        return await handler(request)
    except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
        if request.path.endswith("/") and len(request.path) > 1:
            found = await _without_slash(request)
            if found is not None:
                return await found(request)
        return web.Response(status=404, text="404 page not found")


async def _without_slash(request: web.Request) -> Handler | None:
    """The handler of the same path without its trailing slash, if there is one."""
    shorter = request.clone(rel_url=request.rel_url.with_path(request.path.rstrip("/"), encoded=True))
    match = await request.app.router.resolve(shorter)
    if isinstance(match.http_exception, web.HTTPException):
        return None
    request.match_info.update(match)
    return match.handler


def _request_id(request: web.Request) -> str:
    wanted = request.headers.get("X-Request-Id", "")
    return wanted if wanted and _REQUEST_ID.fullmatch(wanted) else f"{random.getrandbits(64):016x}"


def _preflight(request: web.Request, config: Config) -> web.Response:
    """204 on any path, never authenticated. A foreign origin is told the one it is not: no page gets in.

    About management it is told nothing at all.
    """
    origin = allowed_origin(request, config)
    if origin is None and request.path.startswith(MANAGEMENT):
        return web.Response(status=204, headers={"Vary": "Origin"})
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Origin": origin or f"http://{request.headers.get('Host', 'localhost')}",
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", _HEADERS),
            "Vary": "Origin",
        },
    )


async def _common_headers(request: web.Request, response: web.StreamResponse) -> None:
    if REQUEST_ID in request:
        response.headers.update(common_headers(request))
