"""``POST /api-call``: one request to an upstream with a stored credential, as panels need it for quota and tests.

The request goes to the public Internet or to a configured provider, nowhere else. A credential goes only to hosts of
its own provider, over TLS.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

import aiohttp
from aiohttp import hdrs, web
from msgspec import Struct
from yarl import URL

from cpa.accounts.account import Account
from cpa.errors import PluginError, UpstreamError
from cpa.management.account_lookup import account_at
from cpa.management.answers import Refusal, answer, read_object
from cpa.management.lists import text
from cpa.management.route import Route
from cpa.management.services import Management
from cpa.upstream.public import ForbiddenAddress, public_session, refuse_literal
from cpa.upstream.timeouts import Timeouts

PLACEHOLDER = "$TOKEN$"
SECONDS = 60.0
LARGEST_ANSWER = 10 * 1024 * 1024
_DROPPED = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to a connection, not to a request."""
_REFUSED_METHODS = frozenset({"CONNECT", "TRACE"})


class _Asked(Struct):
    method: str
    url: str
    parts: SplitResult
    headers: dict[str, str]
    body: bytes | None
    account: Account | None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        port = self.parts.port or (443 if self.parts.scheme == "https" else 80)
        return (self.parts.hostname or "").lower(), port


class _Told(Struct):
    status: int
    headers: Iterable[tuple[str, str]]
    body: bytes


class ApiCall:
    """The one call."""

    def __init__(self, management: Management) -> None:
        self._management = management

    async def call(self, request: web.Request) -> web.Response:
        """Send the request and give the answer, whatever its status."""
        asked = self._read(await read_object(request))
        configured = asked.address in self._configured()
        if any(PLACEHOLDER in value for value in asked.headers.values()):
            self._refuse_foreign(asked, configured)
            secret = await self._secret(asked.account)
            asked.headers = {name: value.replace(PLACEHOLDER, secret) for name, value in asked.headers.items()}
        told = await self._send(asked, configured)
        self._management.log.info(
            "api call",
            method=asked.method,
            host=asked.parts.netloc.rpartition("@")[2],
            path=asked.parts.path,
            account=asked.account.id if asked.account is not None else None,
            status=told.status,
        )
        headers: dict[str, list[str]] = {}
        for name, value in told.headers:
            headers.setdefault(str(name), []).append(value)
        body = told.body.decode("utf-8", "replace")
        return answer({"status_code": told.status, "header": headers, "body": body})

    def _read(self, body: Mapping[str, Any]) -> _Asked:
        method, url = text(body.get("method")).upper(), text(body.get("url"))
        if not method:
            raise Refusal(400, "missing method")
        if not method.isalpha() or method in _REFUSED_METHODS:
            raise Refusal(400, "invalid method")
        if not url:
            raise Refusal(400, "missing url")
        headers = body.get("header")
        if headers is not None and not isinstance(headers, dict):
            raise Refusal(400, "invalid body")
        data = body.get("data")
        return _Asked(
            method=method,
            url=url,
            parts=_url_parts(url),
            headers=_headers(headers or {}),
            body=data.encode() if isinstance(data, str) and data else None,
            account=self._account(text(body.get("auth_index")) or text(body.get("authindex"))),
        )

    def _account(self, index: str) -> Account | None:
        if not index:
            return None
        account = account_at(self._management.pool, index)
        if account is None:
            raise Refusal(400, "auth not found")
        return account

    def _configured(self) -> set[tuple[str, int]]:
        """Host and port of every address an account has."""
        return {address for account in self._management.pool if (address := _address(account.base_url))}

    def _refuse_foreign(self, asked: _Asked, configured: bool) -> None:
        """A credential goes to its own provider only."""
        account = asked.account
        if account is None:
            raise Refusal(400, "auth not found", f"{PLACEHOLDER} needs an auth_index")
        own = _address(account.base_url) == asked.address
        try:
            hosts = self._management.plugins.provider_of(account).credential_hosts
        except PluginError:
            hosts = frozenset()
        listed = asked.parts.scheme == "https" and asked.address[1] == 443 and asked.address[0] in hosts
        if not listed and not (own and (asked.parts.scheme == "https" or configured)):
            message = "a credential is sent to hosts of its own provider only"
            raise Refusal(403, "host not allowed for this credential", message)

    async def _secret(self, account: Account | None) -> str:
        """The credential, a login's token refreshed first when it is about to expire."""
        renewals = self._management.renewals
        if account is not None and renewals is not None:
            try:
                account = await renewals.ready(account)
            except UpstreamError as fault:
                raise Refusal(400, "auth token refresh failed", fault.error.message) from None
        if account is None or not account.secret:
            raise Refusal(400, "auth token not found")
        return account.secret

    async def _send(self, asked: _Asked, configured: bool) -> _Told:
        proxy = asked.account.proxy_url if asked.account is not None else ""
        proxied = bool(proxy or self._management.config.proxy_url)
        try:
            if not configured:
                refuse_literal(asked.url)
            if configured or proxied:
                return await self._send_known(asked, proxy)
            return await _send_public(asked)
        except ForbiddenAddress as fault:
            raise Refusal(403, "address not allowed", str(fault)) from None
        except aiohttp.ClientConnectorDNSError as fault:
            if isinstance(fault.__cause__, ForbiddenAddress):
                raise Refusal(403, "address not allowed", str(fault.__cause__)) from None
            raise Refusal(502, "request failed", "the host's name cannot be resolved") from None
        except aiohttp.InvalidURL:
            raise Refusal(400, "invalid url") from None
        except UpstreamError as fault:
            raise Refusal(502, "request failed", fault.error.message) from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as fault:
            raise Refusal(502, "request failed", type(fault).__name__) from None

    async def _send_known(self, asked: _Asked, proxy: str) -> _Told:
        response = await self._management.client.send(
            asked.method,
            asked.url,
            headers=asked.headers,
            body=asked.body,
            timeouts=Timeouts(connect=15.0, first_byte=SECONDS, idle=SECONDS, total=SECONDS),
            account_proxy=proxy,
        )
        try:
            pieces, size = [], 0
            while chunk := await response.read():
                size += len(chunk)
                if size > LARGEST_ANSWER:
                    raise Refusal(502, "response too large")
                pieces.append(chunk)
            return _Told(response.status, response.headers.items(), b"".join(pieces))
        finally:
            response.close()


async def _send_public(asked: _Asked) -> _Told:
    async with (
        public_session() as session,
        session.request(
            asked.method,
            URL(asked.url, encoded=True),
            headers=asked.headers,
            data=asked.body,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=SECONDS),
        ) as response,
    ):
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > LARGEST_ANSWER:
                raise Refusal(502, "response too large")
        return _Told(response.status, response.headers.items(), bytes(content))


def _url_parts(url: str) -> SplitResult:
    """The parts of a plain http or https URL. Refuses user names in it, other schemes, and what cannot be read."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise Refusal(400, "invalid url") from None
    clean = url.isascii() and url.isprintable() and not set(url) & set(' \\"<>')
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or not clean:
        raise Refusal(400, "invalid url")
    return parts


def _headers(headers: Mapping[str, Any]) -> dict[str, str]:
    kept = {}
    for name, value in headers.items():
        if not isinstance(value, str) or not name.isascii() or not name.isprintable() or not value.isprintable():
            raise Refusal(400, "invalid body")
        if name.strip().lower() not in _DROPPED:
            kept[name.strip()] = value
    kept.setdefault(hdrs.ACCEPT, "*/*")
    return kept


def _address(base_url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(base_url)
        if not parts.hostname:
            return None
        return parts.hostname.lower(), parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return None


def routes(management: Management) -> list[Route]:
    """The one route."""
    body = {
        "type": "object",
        "properties": {
            "auth_index": {"type": "string"},
            "method": {"type": "string"},
            "url": {"type": "string"},
            "header": {"type": "object", "additionalProperties": {"type": "string"}},
            "data": {"type": "string"},
        },
        "required": ["method", "url"],
    }
    told = {
        "type": "object",
        "properties": {
            "status_code": {"type": "integer"},
            "header": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
            "body": {"type": "string"},
        },
        "required": ["status_code", "header", "body"],
    }
    return [
        Route(
            method="POST",
            path="/api-call",
            handler=ApiCall(management).call,
            summary="Send one request to an upstream",
            tag="Accounts",
            body=body,
            answer=told,
            refusals=(400, 403, 502),
        )
    ]
