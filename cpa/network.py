"""Addresses, host names and origins: which of them are this machine's own."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from urllib.parse import unquote, urlsplit

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "ip6-localhost"})


def client_address(peer: str, forwarded_for: str, trusted_proxies: Iterable[str]) -> str:
    """The client's address: the socket's ``peer``, or what a trusted proxy says in ``X-Forwarded-For``."""
    trusted = tuple(trusted_proxies)
    if trusted and _among(peer, trusted):
        for hop in reversed([part.strip() for part in forwarded_for.split(",")]):
            if hop and not _among(hop, trusted):
                return hop
    return peer


def forwarded_for(headers: Mapping[str, str]) -> str:
    """What a proxy says of the client it speaks for: ``X-Forwarded-For``, else ``X-Real-IP``."""
    return headers.get("X-Forwarded-For") or headers.get("X-Real-IP", "")


def _among(address: str, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
        return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)
    except ValueError:
        return False


def split_userinfo(url: str) -> tuple[str, str]:
    """A URL without its ``name:password@``, and that, percent-decoded; '' where it has none."""
    scheme, mark, rest = url.partition("://")
    end = next((place for place, character in enumerate(rest) if character in "/?#"), len(rest))
    userinfo, at, host = rest[:end].rpartition("@")
    return (f"{scheme}{mark}{host}{rest[end:]}", unquote(userinfo)) if mark and at else (url, "")


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address == ""
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def is_ip(host: str) -> bool:
    """Whether a host is written as an address, which no page's own name can be."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback_origin(origin: str) -> bool:
    """Whether a page (``http://localhost:3000``) comes from this machine."""
    try:
        host = (urlsplit(origin).hostname or "").lower()
    except ValueError:
        return False
    return host in LOOPBACK_NAMES or (is_ip(host) and is_loopback(host))


def is_own_origin(origin: str, host: str) -> bool:
    """Whether a page comes from this server, as its ``Host`` header names it, or from this machine."""
    own = origin.partition("://")[2].lower()
    return bool(own and own == host.lower()) or is_loopback_origin(origin)


def is_foreign_page(headers: Mapping[str, str], allowed: Iterable[str]) -> bool:
    """Whether somebody else's web page made a browser send a request; ``allowed`` are origins that may.

    Programs with a browser inside (``app://...``) are no pages. A page without an origin of its own says ``null``.
    """
    origin = headers.get("Origin")
    if origin is None:
        return headers.get("Sec-Fetch-Site") == "cross-site"
    if origin != "null" and not origin.startswith(("http://", "https://")):
        return False
    listed = tuple(allowed)
    return origin not in listed and "*" not in listed and not is_own_origin(origin, headers.get("Host", ""))


def host_name(value: str) -> str:
    """The host in a ``Host`` header, lower case, without port and brackets."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.partition(":")[0].lower().rstrip(".")
