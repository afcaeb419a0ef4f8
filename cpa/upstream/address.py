"""From a URL to where to connect and what to ask for."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from msgspec import Struct

_PORTS = {"http": 80, "https": 443}
_TARGET = re.compile(r"[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9._~%:\[\]-]+")


class Origin(Struct, frozen=True):
    """One server: connections to it may serve any request for it."""

    scheme: str
    host: str
    port: int

    @property
    def secure(self) -> bool:
        """Whether to talk TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """The ``Host`` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if _PORTS[self.scheme] == self.port else f"{host}:{self.port}"


@lru_cache(maxsize=1024)
def split_url(url: str) -> tuple[Origin, str]:
    """Origin and request target (path and query) of an http or https URL, already percent-encoded.

    Raises ValueError for anything else, also for a URL that would break out of the request line.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode()
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host):
        raise ValueError("not an http or https URL")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _TARGET.fullmatch(target):
        raise ValueError("characters in the URL that must be percent-encoded")
    return Origin(parts.scheme, host, parts.port or _PORTS[parts.scheme]), target
