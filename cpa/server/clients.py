"""Who a client is: its key, its address, the host it thinks it talks to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Protocol

from cpa.config import Config
from cpa.config.client_keys import SAMPLE_KEYS, ClientKeys, expired, key_id, may_ask
from cpa.errors import ApiError, ErrorInfo
from cpa.network import LOOPBACK_NAMES, client_address, forwarded_for, host_name, is_foreign_page, is_ip, is_loopback
from cpa.plugins.values import ClientIdentity
from cpa.server.services import Services

_HEADERS = (("Authorization", "authorization"), ("X-Goog-Api-Key", "x-goog-api-key"), ("X-Api-Key", "x-api-key"))
HOST_REFUSED = "this host name is not allowed (allowed-hosts)"
_EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104
"""Hosts that listen on every address, the loopback ones among them."""
_QUERY = (("key", "query-key"), ("auth_token", "query-auth-token"))


class KeyRing:
    """The client keys of one configuration as digests; built once per snapshot."""

    def __init__(self, config: Config) -> None:
        self.config = config
        keys = [key if isinstance(key, str) else key.key for key in config.api_keys]
        self._digests = {sha256(key.encode()).digest(): key_id(key) for key in keys if key}

    def __bool__(self) -> bool:
        return bool(self._digests)

    def find(self, candidate: str) -> str | None:
        """The id of a key; what is looked up is its digest, so that the time it takes tells nothing of any key."""
        return self._digests.get(sha256(candidate.encode("utf-8", "surrogateescape")).digest())


def candidates(headers: Mapping[str, str], query: Mapping[str, str]) -> list[tuple[str, str]]:
    """(key, source) of every place a key may stand in, in the order in which they count."""
    found = []
    for name, source in _HEADERS:
        value = headers.get(name)
        if value:
            found.append((_bearer(value) if name == "Authorization" else value.strip(), source))
    for name, source in _QUERY:
        if value := query.get(name):
            found.append((value, source))
    return found


def _bearer(value: str) -> str:
    scheme, space, rest = value.strip().partition(" ")
    return rest.strip() if space and scheme.lower() == "bearer" else value.strip()


class Asking(Protocol):
    """What is looked at of a request."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Case-insensitive."""

    @property
    def query(self) -> Mapping[str, str]:
        """Decoded."""

    @property
    def path(self) -> str:
        """Decoded."""

    @property
    def remote(self) -> str:
        """Where the connection comes from."""


class Doorkeeper:
    """Lets clients in. Keeps the key ring of the newest configuration."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._ring: KeyRing | None = None
        self._limited = ClientKeys()

    def _keys(self, config: Config) -> KeyRing:
        ring = self._ring
        if ring is None or ring.config is not config:
            ring = self._ring = KeyRing(config)
        return ring

    def admit(self, request: Asking, config: Config) -> ClientIdentity | None:
        """The client's identity, None when no keys are configured. Raises ApiError 401 or 403."""
        hook = self._services.authenticate_hook
        if hook is not None:
            identity: ClientIdentity | None = hook(headers=request.headers, query=request.query, path=request.path)
            if identity is not None:
                return identity
        ring = self._keys(config)
        if not ring:
            if not config.allow_unauthenticated_remote and not is_loopback(
                peer_address(request.remote, request.headers, config)
            ):
                message = "no client keys are configured: only clients on this machine are let in (set api-keys)"
                raise ApiError(ErrorInfo(403, message, type="permission_error", code="remote_without_key"))
            if is_foreign_page(request.headers, config.cors_origins):
                message = (
                    "a web page may not ask without a client key (set api-keys, or list its origin in cors-origins)"
                )
                raise ApiError(ErrorInfo(403, message, type="permission_error", code="page_without_key"))
            return None
        found = candidates(request.headers, request.query)
        for key, source in found:
            identity_id = ring.find(key)
            if identity_id is not None:
                if key in SAMPLE_KEYS and not is_loopback(peer_address(request.remote, request.headers, config)):
                    message = "this client key is the example's, which everybody knows: choose another in api-keys"
                    raise ApiError(ErrorInfo(403, message, type="permission_error", code="unsafe_example_api_key"))
                return ClientIdentity(identity_id, metadata={"source": source})
        message = "Invalid API key" if found else "Missing API key"
        raise ApiError(ErrorInfo(401, message, type="authentication_error", code="invalid_api_key"))

    def visible_to(self, client: ClientIdentity | None, config: Config) -> Callable[[str], bool]:
        """Tells which models a client is shown: those its key may ask for. Raises ApiError for an expired key."""
        entry = self._limited.find(config, client.id) if client is not None else None
        if entry is None:
            return lambda name: True
        if expired(entry, time.time()):
            message = f"this key expired on {entry.expires}"
            raise ApiError(ErrorInfo(403, message, type="permission_error", code="key_expired"))
        return may_ask(entry)


def peer_address(remote: str, headers: Mapping[str, str], config: Config) -> str:
    """The client's address: the connection's (``remote``), or what a trusted proxy says."""
    if not config.trusted_proxies:
        return remote
    return client_address(remote, forwarded_for(headers), config.trusted_proxies)


def host_allowed(remote: str, headers: Mapping[str, str], config: Config) -> bool:
    """Whether the ``Host`` header names this machine, for listeners that only this machine can reach.

    A web page can make its own name resolve to 127.0.0.1 and then talk to the daemon; its Host header gives it away.
    """
    if config.host not in LOOPBACK_NAMES and not (config.host in _EVERYWHERE and is_loopback(remote)):
        return True
    host = host_name(headers.get("Host", ""))
    if host in LOOPBACK_NAMES or host == "" or is_ip(host):
        return True
    return any(pattern in ("*", host) for pattern in (entry.lower() for entry in config.allowed_hosts))
