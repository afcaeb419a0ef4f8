"""Which upstream headers others may see: a client (``passthrough-headers``), and collectors of usage."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

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


_TELLING = re.compile(
    r"""retry-after(-ms)?
    |(x-|anthropic-)?rate-?limit(-.*)?
    |x-codex-(.*-)?(used-percent|window-minutes|reset-at|reset-after-seconds|limit-name)
    |x-codex-(credits-.*|plan-type|active-limit)
    |x-gemini-service-tier
    |(x-|x-goog-|x-oai-|x-amzn-)?request-?id|x-amzn-requestid|apim-request-id|cf-ray""",
    re.VERBOSE | re.IGNORECASE,
)
MOST_TELLING = 40
LONGEST_TELLING = 256


def telling_headers(upstream: Mapping[str, str]) -> dict[str, list[str]]:
    """What an answer's headers say of rate limits and of its id, under their names in the usual spelling."""
    found: dict[str, list[str]] = {}
    for name, value in upstream.items():
        if (shown := _told_as(name)) and len(found) < MOST_TELLING:
            found.setdefault(shown, []).append(value[:LONGEST_TELLING])
    return found


@lru_cache(maxsize=1024)
def _told_as(name: str) -> str:
    """The usual spelling of a header that is told; empty for others."""
    return name.title() if _TELLING.fullmatch(name) else ""
