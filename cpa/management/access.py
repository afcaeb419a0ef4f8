"""Who may use the management API."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from hashlib import sha256

from aiohttp import web

from cpa.config import Config
from cpa.config.sections import BCRYPT_PREFIXES
from cpa.management.answers import Refusal
from cpa.management.lockout import Lockout, attempts_of, duration_text
from cpa.network import client_address, forwarded_for, host_name, is_ip, is_loopback, is_loopback_origin, is_own_origin


class Gate:
    """Checks every management request.

    ``environ`` may hold ``MANAGEMENT_PASSWORD``; ``local_password`` is one that only callers on this machine may use.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        local_password: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._password = environ.get("MANAGEMENT_PASSWORD", "").strip()
        self._local_password = local_password
        self.lockout = Lockout(clock)
        self._verified = _VerifiedHash()
        self._secret = ""
        self._was_enabled = False

    def enabled(self, config: Config) -> bool:
        """Whether there is a management API at all: some key must be set."""
        found = bool(self._password or self._local_password or config.remote_management.secret_key)
        self._was_enabled = self._was_enabled or found
        return found

    @property
    def was_enabled(self) -> bool:
        """Whether there has been one since the start."""
        return self._was_enabled

    async def admit(self, request: web.Request, config: Config, *, also: str = "") -> None:
        """Let the request in; ``also`` is another key that opens this door, from anywhere. Raises Refusal."""
        refuse_foreign_pages(request, config)
        address = client_address(request.remote or "", forwarded_for(request.headers), config.trusted_proxies)
        key = management_key(request)
        page = _page_by_name(request, config)
        counts = bool(key) or not by_browser(request)
        await self.check(key, address, is_loopback(address), config, page=page, counts=counts, also=also)

    async def check(
        self,
        key: str,
        address: str,
        local: bool,
        config: Config,
        *,
        page: bool = False,
        counts: bool = True,
        also: str = "",
    ) -> None:
        """Judge a key from an address. Raises Refusal.

        ``counts`` False leaves a failure out of the lock-out. ``page``: the failures of web pages are counted apart
        from those of programs, so that no page can shut the owner's programs out. ``also`` is another key that is
        good here, from any address, where the management key is only good if it may be used from there.
        """
        secret = config.remote_management.secret_key
        if secret != self._secret:
            self._secret = secret
            self.lockout.forget_all()
        who = f"{attempts_of(address)} by a page" if page else attempts_of(address)
        self._refuse_banned(who)
        if local and self._local_password and _equal(key, self._local_password):
            self.lockout.succeeded(who)
            return
        manages = local or config.remote_management.allow_remote or bool(self._password)
        if not manages and not also:
            raise Refusal(403, "remote management disabled")
        if not (secret or self._password or also or (local and self._local_password)):
            raise Refusal(403, "remote management key not set")
        right = bool(key) and (
            (bool(also) and _equal(key, also)) or (manages and await self._is_management_key(key, secret, who))
        )
        if right:
            self.lockout.succeeded(who)
            return
        if counts:
            self.lockout.failed(who)
        raise Refusal(401, "invalid management key" if key else "missing management key")

    def _refuse_banned(self, who: str) -> None:
        if left := self.lockout.remaining(who):
            message = f"IP banned due to too many failed attempts. Try again in {duration_text(left)}"
            raise Refusal(403, message, code="banned", retry_after=left)

    async def _is_management_key(self, key: str, secret: str, who: str) -> bool:
        if self._password and _equal(key, self._password):
            return True
        if not secret:
            return False
        if secret.startswith(BCRYPT_PREFIXES):
            return await self._verified.matches(key, secret, lambda: self._refuse_banned(who))
        return _equal(key, secret)


class _VerifiedHash:
    """Compares keys with a bcrypt hash off the event loop, and remembers the last right one as a keyed digest."""

    def __init__(self) -> None:
        self._salt = secrets.token_bytes(32)
        self._hash = ""
        self._digest = b""
        self._lock = asyncio.Lock()

    async def matches(self, key: str, hashed: str, in_turn: Callable[[], None]) -> bool:
        """Whether the key has that hash. ``in_turn`` is called before the work is done and may raise Refusal: by
        then others of the same sender may have been wrong too often.
        """
        digest = hmac.digest(self._salt, key.encode("utf-8", "surrogateescape"), "sha256")
        if self._known(digest, hashed):
            return True
        async with self._lock:  # one at a time: guessing must not take the machine
            if self._known(digest, hashed):
                return True
            in_turn()
            if not await asyncio.to_thread(_bcrypt_matches, key, hashed):
                return False
            self._hash, self._digest = hashed, digest
            return True

    def _known(self, digest: bytes, hashed: str) -> bool:
        return self._hash == hashed and hmac.compare_digest(digest, self._digest)


def _bcrypt_matches(key: str, hashed: str) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(key.encode("utf-8", "surrogateescape")[:72], hashed.encode())
    except ValueError:
        return False


def management_key(request: web.Request) -> str:
    """The key a request carries: ``Authorization`` (with or without ``Bearer``), else ``X-Management-Key``."""
    value = request.headers.get("Authorization", "")
    scheme, _, rest = value.partition(" ")
    key = rest if scheme.lower() == "bearer" else value
    return key or request.headers.get("X-Management-Key", "")


def by_browser(request: web.Request) -> bool:
    """Whether a browser sent the request. Without a key it is a page's doing, not a guess: pages cannot set one."""
    headers = request.headers
    return "Origin" in headers or "Sec-Fetch-Site" in headers or headers.get("User-Agent", "").startswith("Mozilla/")


def refuse_foreign_pages(request: web.Request, config: Config) -> None:
    """A web page of somebody else must not even get as far as a wrong key. Raises Refusal 403."""
    origin = request.headers.get("Origin")
    if origin is None:
        if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            raise Refusal(403, "origin not allowed", "links of other pages do not lead into the management API")
    elif not origin_allowed(origin, request, config):
        raise Refusal(403, "origin not allowed", f"pages of {origin[:200]} may not use the management API")


def origin_allowed(origin: str, request: web.Request, config: Config) -> bool:
    """Pages of this server, of this machine, and of ``cors-origins`` may use the management API."""
    if origin in config.cors_origins or "*" in config.cors_origins:
        return True
    return is_own_origin(origin, request.headers.get("Host", ""))


def _page_by_name(request: web.Request, config: Config) -> bool:
    """Whether a page of a name nobody vouches for asks: whoever owns the name can lead it to this machine."""
    origin = request.headers.get("Origin")
    if origin is None or origin in config.cors_origins or is_loopback_origin(origin):
        return False
    host = host_name(origin.partition("://")[2])
    return not is_ip(host) and host not in {entry.lower() for entry in config.allowed_hosts}


def _equal(one: str, other: str) -> bool:
    """Compared in constant time, whatever their lengths."""
    left, right = (sha256(text.encode("utf-8", "surrogateescape")).digest() for text in (one, other))
    return hmac.compare_digest(left, right)
