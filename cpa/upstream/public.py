"""Requests to addresses somebody else chose: only public ones are reached."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
"""IPv6 networks whose addresses stand for the IPv4 address in their last four bytes."""


class ForbiddenAddress(OSError):
    """A name or address that leads into this machine or its network."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public Internet; addresses that wrap another are judged by it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_public(str(parsed.ipv4_mapped))
        if parsed.sixtofour is not None:
            return is_public(str(parsed.sixtofour))
        if parsed.teredo is not None:
            return False
        if any(parsed in network for network in _TRANSLATED):
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
        if parsed.is_site_local:
            return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def refuse_literal(url: str) -> None:
    """Raise ForbiddenAddress for a URL whose host is this machine's name or an address that is not public.

    Old spellings of IPv4 addresses (``127.1``, ``0x7f000001``) are addresses too.
    """
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost") or not _may_be_public(host):
        raise ForbiddenAddress(f"{host} is not a public address")


def _may_be_public(host: str) -> bool:
    try:
        return is_public(host)
    except ValueError:
        pass
    try:
        return is_public(socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:
        return True


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses; the connection goes to the address that was looked at."""

    def __init__(self) -> None:
        self._resolver = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises ForbiddenAddress when one of them is not public."""
        found = await self._resolver.resolve(host, port, family)
        if not found or not all(is_public(entry["host"]) for entry in found):
            raise ForbiddenAddress(f"{host} does not lead to a public address")
        return found

    async def close(self) -> None:
        """Nothing is kept open."""
        await self._resolver.close()


def public_session() -> aiohttp.ClientSession:
    """A session that reaches public addresses only, directly, and keeps nothing between requests."""
    options: dict[str, Any] = {"resolver": PublicResolver(), "use_dns_cache": False, "force_close": True}
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(**options),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent",),
    )
