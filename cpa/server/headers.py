"""Headers that every answer carries."""

from __future__ import annotations

from aiohttp import hdrs, web

from cpa.config import Config
from cpa.network import is_loopback_origin
from cpa.server.keys import CONFIG, REQUEST_ID

_EXPOSED = (
    "X-Request-Id, Retry-After, ETag, Content-Disposition, X-CPA-VERSION, X-CPA-COMMIT, X-CPA-BUILD-DATE, "
    "X-CPA-SUPPORT-PLUGIN"
)
MANAGEMENT = "/v0/management"


def allowed_origin(request: web.Request, config: Config) -> str | None:
    """The origin to name in CORS headers; None lets the browser keep the answer from the page.

    Pages served by this machine may manage, with the management key.
    """
    origin = request.headers.get("Origin")
    if origin is None:
        return None
    if request.path.startswith(MANAGEMENT) and is_loopback_origin(origin):
        return origin
    if "*" in config.cors_origins:
        return "*"
    return origin if origin in config.cors_origins else None


def common_headers(request: web.Request) -> dict[str, str]:
    """The request's id, and for pages of other origins that are let in the headers that say so."""
    headers = {"X-Request-Id": request[REQUEST_ID]}
    origin = allowed_origin(request, request[CONFIG])
    if origin is not None and request.method != hdrs.METH_OPTIONS:
        headers |= {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
            "Vary": "Origin",
        }
    return headers
