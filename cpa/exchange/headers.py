"""Which upstream headers a client may see (``passthrough-headers``)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from cpa.errors import ErrorInfo

_DROPPED = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "set-cookie",
        "content-length",
        "content-encoding",
        "content-type",
    }
)
_DROPPED_PREFIXES = (
    "access-control-",
    "x-cpa-",
    "x-litellm-",
    "helicone-",
    "x-portkey-",
    "cf-aig-",
    "x-kong-",
    "x-bt-",
)


def passed_headers(upstream: Mapping[str, str]) -> dict[str, str]:
    """Upstream headers without those that concern the connection, cookies, encodings and other gateways."""
    named = {name.strip().lower() for name in upstream.get("Connection", "").split(",")}
    return {
        name: value
        for name, value in upstream.items()
        if (lower := name.lower()) not in _DROPPED and lower not in named and not lower.startswith(_DROPPED_PREFIXES)
    }


def retry_after_seconds(error: ErrorInfo) -> int | None:
    """The ``Retry-After`` value for an error: whole seconds rounded up, at least 1."""
    return max(1, math.ceil(error.retry_after)) if error.retry_after is not None else None
