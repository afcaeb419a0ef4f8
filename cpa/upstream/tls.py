"""Which certificates of upstreams count: those the machine trusts, or the file that ``SSL_CERT_FILE`` names."""

from __future__ import annotations

import ssl
from typing import Any

from aiohttp import connector


def _context() -> ssl.SSLContext:
    """aiohttp's own, which it makes while it is imported and uses for everything that goes through a proxy.

    To make one reads some hundred certificates: another one would keep all streams waiting for that long.
    """
    made: Any = getattr(connector, "_SSL_CONTEXT_VERIFIED", None)
    if isinstance(made, ssl.SSLContext):
        return made
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


CONTEXT = _context()
"""For every connection to an upstream."""
