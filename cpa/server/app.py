"""The aiohttp application: management, web pages and plugins' routes; and surfaces for requests out of the ordinary."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import MultipartReader, hdrs, web

from cpa.exchange.recorder import CLIENT_GONE
from cpa.server.clients import HOST_REFUSED, Doorkeeper, host_allowed
from cpa.server.connections import connection_of
from cpa.server.headers import MANAGEMENT, allowed_origin, common_headers
from cpa.server.request import Request
from cpa.server.services import Services
from cpa.server.surface import Route, Routes
from cpa.server.surfaces import claude, fixed, gemini, images, models, openai
from cpa.server.wire import send

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_REQUEST = 4 * 1024 * 1024 * 1024
"""aiohttp's own limit; ours (``max-body-size``) is checked against the live configuration."""
_HEADERS = "Authorization, Content-Type, If-Match, X-Api-Key, X-Goog-Api-Key, X-Management-Key"
_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
_REQUEST: web.RequestKey[Request] = web.RequestKey("request", Request)


def client_routes() -> Routes:
    """The routes of all surfaces."""
    routes = Routes()
    for surface in (openai, claude, gemini, models, images, fixed):
        surface.add_routes(routes)
    return routes


def create_app(services: Services, door: Doorkeeper, routes: Routes) -> web.Application:
    """The application with every route."""

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _around(request, handler, services, door)

    app = web.Application(client_max_size=LARGEST_REQUEST, middlewares=[around])
    for route in routes.all:
        path = f"{route.beginning}{{{route.rest}:.+}}" if route.rest else route.beginning
        app.router.add_route(route.method, path, _handler(route))
    if services.add_routes is not None:
        services.add_routes(app.router)
    app.on_response_prepare.append(_add_common_headers)
    return app


def _handler(route: Route) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        ours = request[_REQUEST]
        answer = await route.surface(ours)
        wire = _AiohttpWire(request)
        await send(wire, ours, answer)
        assert wire.response is not None
        return wire.response

    return handle


async def _around(request: web.Request, handler: Handler, services: Services, door: Doorkeeper) -> web.StreamResponse:
    """Request id, snapshot, Host check, preflight, trailing slash, access line."""
    body = _AiohttpBody(request)
    ours = request[_REQUEST] = Request(
        services, door, request.method, request.path, request.path_qs, request.headers, request.remote or "", body
    )
    status, response = 500, None
    connection = connection_of(request)
    if connection is not None:
        connection.request_began()
    try:
        response = await _answer(request, ours, handler)
        status = response.status
        return response
    except (asyncio.CancelledError, ConnectionError):
        status = CLIENT_GONE
        raise
    finally:
        if connection is not None:
            connection.request_ended()
        resource = request.match_info.route.resource
        ours.finish(resource.canonical if resource is not None else "other", status, response)


async def _answer(request: web.Request, ours: Request, handler: Handler) -> web.StreamResponse:
    if not host_allowed(ours.remote, ours.headers, ours.config):
        return web.Response(status=421, text=HOST_REFUSED)
    if request.method == hdrs.METH_OPTIONS:
        return _preflight(ours)
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


def _preflight(request: Request) -> web.Response:
    """204 on any path, never authenticated. A foreign origin is told the one it is not: no page gets in.

    About management it is told nothing at all.
    """
    headers = request.headers
    origin = allowed_origin(request.path, headers, request.config)
    if origin is None and request.path.startswith(MANAGEMENT):
        return web.Response(status=204, headers={"Vary": "Origin"})
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Origin": origin or f"http://{headers.get('Host', 'localhost')}",
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": headers.get("Access-Control-Request-Headers", _HEADERS),
            "Vary": "Origin",
        },
    )


async def _add_common_headers(request: web.Request, response: web.StreamResponse) -> None:
    ours = request.get(_REQUEST)
    if ours is not None:
        origin = allowed_origin(ours.path, ours.headers, ours.config)
        response.headers.update(
            common_headers(ours.request_id, None if request.method == hdrs.METH_OPTIONS else origin)
        )


class _AiohttpBody:
    """The body of a request that aiohttp reads."""

    def __init__(self, request: web.Request) -> None:
        self._request = request

    @property
    def announced(self) -> int | None:
        return self._request.content_length

    def at_once(self) -> bytes | None:
        content = self._request.content
        return content.read_nowait() if content.is_eof() else None

    async def next_piece(self) -> bytes:
        return await self._request.content.readany()

    async def multipart(self) -> MultipartReader:
        return await self._request.multipart()


class _AiohttpWire:
    """Answers a request that aiohttp read."""

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.response: web.StreamResponse | None = None
        """Set once there is an answer; aiohttp sends what is not sent yet."""

    async def whole(self, status: int, content_type: str, headers: Mapping[str, str], body: bytes) -> None:
        self.response = web.Response(status=status, body=body, content_type=content_type, headers=headers)

    async def begin(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        self.response = web.StreamResponse(status=status, headers={**headers, "Content-Type": content_type})
        await self.response.prepare(self._request)

    async def write(self, chunk: bytes) -> None:
        assert self.response is not None
        await self.response.write(chunk)

    async def end(self) -> None:
        assert self.response is not None
        await self.response.write_eof()

    def cut(self) -> None:
        if self._request.transport is not None:
            self._request.transport.abort()
