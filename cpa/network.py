"""Addresses, host names and origins: which of them are this machine's own."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1", "ip6-localhost"})


def client_address(peer: str, forwarded_for: str, trusted_proxies: Iterable[str]) -> str:
    """The client's address: the socket's ``peer``, or what a trusted proxy says in ``X-Forwarded-For``."""
    trusted = tuple(trusted_proxies)
    if trusted and _among(peer, trusted):
        for hop in reversed([part.strip() for part in forwarded_for.split(",")]):
            if hop and not _among(hop, trusted):
                return hop
    return peer


def _among(address: str, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
        return any(parsed in ipaddress.ip_network(network, strict=False) for network in networks)
    except ValueError:
        return False


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


def host_name(value: str) -> str:
    """The host in a ``Host`` header, lower case, without port and brackets."""
    if value.startswith("["):
        return value[1:].partition("]")[0].lower()
    return value.partition(":")[0].lower().rstrip(".")
