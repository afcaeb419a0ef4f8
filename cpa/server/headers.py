"""Headers that every answer carries."""

from __future__ import annotations

from collections.abc import Mapping

from cpa.config import Config
from cpa.network import is_loopback_origin

_EXPOSED = (
    "X-Request-Id, Retry-After, ETag, Content-Disposition, X-CPA-VERSION, X-CPA-COMMIT, X-CPA-BUILD-DATE, "
    "X-CPA-SUPPORT-PLUGIN"
)
MANAGEMENT = "/v0/management"


def allowed_origin(path: str, headers: Mapping[str, str], config: Config) -> str | None:
    """The origin to name in CORS headers; None lets the browser keep the answer from the page.

    Pages served by this machine may manage, with the management key.
    """
    origin = headers.get("Origin")
    if origin is None:
        return None
    if path.startswith(MANAGEMENT) and is_loopback_origin(origin):
        return origin
    if "*" in config.cors_origins:
        return "*"
    return origin if origin in config.cors_origins else None


def common_headers(request_id: str, origin: str | None) -> dict[str, str]:
    """The request's id, and for a page of another origin that is let in the headers that say so."""
    headers = {"X-Request-Id": request_id}
    if origin is not None:
        headers |= {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
            "Vary": "Origin",
        }
    return headers
