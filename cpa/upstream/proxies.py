"""Which proxy an upstream request takes."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]

from cpa.errors import ErrorInfo, UpstreamError

DIRECT = frozenset({"direct", "none"})
SCHEMES = frozenset({"http", "https", "socks5", "socks5h"})


def choose_proxy(account_proxy: str, global_proxy: str, host: str, environ: Mapping[str, str], scheme: str) -> str:
    """The proxy URL for a request, '' for a direct connection.

    The account's value wins over the global one, that over the environment. ``direct`` or ``none`` means no proxy at
    all. Raises UpstreamError when the value is not a proxy URL: a request never goes out directly by mistake.
    """
    for value in (account_proxy.strip(), global_proxy.strip()):
        if value.lower() in DIRECT:
            return ""
        if value:
            return _checked(value)
    return _from_environment(host, environ, scheme)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        valid = parts.scheme.lower() in SCHEMES and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        error = ErrorInfo(
            502,
            "the configured proxy-url is not a http, https or socks5 URL",
            type="server_error",
            code="invalid_proxy",
        )
        raise UpstreamError(error, scope="none", cooldown=0)
    return url


def _from_environment(host: str, environ: Mapping[str, str], scheme: str) -> str:
    def read(name: str) -> str:
        return (environ.get(name.lower()) or environ.get(name.upper()) or "").strip()

    no_proxy = read("no_proxy")
    if host in ("localhost", "127.0.0.1", "::1") or (no_proxy and proxy_bypass_environment(host, {"no": no_proxy})):
        return ""
    url = read(f"{scheme}_proxy") or read("all_proxy")
    return _checked(url) if url else ""
