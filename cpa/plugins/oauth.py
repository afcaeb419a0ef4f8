"""What providers with OAuth logins share: calls to token endpoints, their errors, times and JWT claims.

A provider keeps its endpoints in a :class:`msgspec.Struct` with the vendor's public values as defaults; a user changes
them under ``plugins.configs.<plugin>.oauth``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
import orjson

from cpa.accounts.account import Account
from cpa.errors import ErrorInfo, OAuthError, UpstreamError
from cpa.network import split_userinfo
from cpa.plugins.entries import USER_AGENT
from cpa.plugins.faults import retry_after_of
from cpa.plugins.provider import HttpClient

PAUSES = (1.0, 2.0)
"""Seconds before the second and the third attempt at a token endpoint that fails for reasons of its own."""
TIMEOUT = 30.0
"""Seconds one call may take."""
LOGIN_AGAIN = frozenset(
    {
        "invalid_grant",
        "refresh_token_expired",
        "refresh_token_reused",
        "refresh_token_invalidated",
        "unauthorized_client",
    }
)
"""Error codes after which a refresh token is worth nothing any more."""

Endpoints = TypeVar("Endpoints", bound=msgspec.Struct)


def endpoints_of(kind: type[Endpoints], settings: Mapping[str, Any]) -> Endpoints:
    """The endpoints a plugin's settings give under ``oauth``, defaults for the rest.

    Raises ValueError for a member that does not exist or has the wrong type.
    """
    given = settings.get("oauth") or {}
    if not isinstance(given, Mapping):
        raise ValueError("oauth must be a mapping of endpoints and client ids")
    members = {str(name).replace("-", "_"): value for name, value in given.items()}
    unknown = sorted(set(members) - set(kind.__struct_fields__))
    if unknown:
        raise ValueError(f"oauth has no setting {unknown[0].replace('_', '-')!r}")
    try:
        return msgspec.convert(members, kind)
    except msgspec.ValidationError as fault:
        raise ValueError(f"oauth: {fault}") from None


async def call_token_endpoint(
    http: HttpClient,
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    json: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    account: Account | None = None,
    attempts: int = 3,
    refused: Collection[int] = (401,),
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> dict[str, Any]:
    """POST ``form`` or ``json`` and give the answer's JSON object.

    Network faults and 5xx are tried again after 1 and 2 seconds; everything else is final. An ``error`` member is a
    failure whatever the status, and a status among ``refused`` means that only another login helps. Raises OAuthError,
    which quotes nothing that was sent.
    """
    content, kind = (
        (urlencode(form).encode(), "application/x-www-form-urlencoded")
        if form is not None
        else (orjson.dumps(dict(json or {})), "application/json")
    )
    sent = {"Content-Type": kind, "Accept": "application/json", "User-Agent": USER_AGENT, **(headers or {})}
    for attempt in range(attempts):
        try:
            status, answered, body = await http.request(
                "POST", url, account=account, headers=sent, body=content, timeout=TIMEOUT
            )
        except UpstreamError as fault:
            failure = OAuthError(fault.error.message, status=0, code="network")
        else:
            answer = _object(body)
            if 200 <= status < 300 and answer is not None and not answer.get("error"):
                return answer
            failure = refusal(status, answered, answer, refused)
        if (failure.status and failure.status < 500) or attempt + 1 == attempts:
            raise failure
        await sleep(PAUSES[min(attempt, len(PAUSES) - 1)])
    raise AssertionError("unreachable")


def refusal(
    status: int, headers: Mapping[str, str], answer: Mapping[str, Any] | None, refused: Collection[int] = (401,)
) -> OAuthError:
    """What a token endpoint's error answer means. The vendor's words are kept as far as they are short text."""
    code, description = _words(answer or {})
    terminal = code in LOGIN_AGAIN or any(mark in description for mark in LOGIN_AGAIN)
    said = f"{code}: {description}" if code and description else code or description or "no reason given"
    return OAuthError(
        f"the token endpoint answered {status} ({said})",
        status=status if status >= 400 else 400,
        code=code,
        description=description,
        terminal=(terminal and status < 500) or status in refused,
        retry_after=retry_after_of(headers) if status in (429, 503) else None,
    )


def _words(answer: Mapping[str, Any]) -> tuple[str, str]:
    """``error`` may be a code, or an object with code and message."""
    error = answer.get("error")
    if isinstance(error, Mapping):
        return _short(error.get("code") or error.get("type")), _short(error.get("message"))
    return _short(error), _short(answer.get("error_description") or answer.get("message"))


def _short(value: Any) -> str:
    return value.strip()[:200] if isinstance(value, str) else ""


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return answer if isinstance(answer, dict) else None


def required(answer: Mapping[str, Any], member: str) -> str:
    """A text member a token answer must have. Raises OAuthError."""
    value = answer.get(member)
    if not isinstance(value, str) or not value:
        raise OAuthError(f"the token endpoint gave no {member}", status=502, code="bad_answer")
    return value


def token_members(answer: Mapping[str, Any], now: float, *, expiry: str = "expired", **others: Any) -> dict[str, Any]:
    """The members of an auth file that a token answer gives: its tokens, and those of ``others`` that are texts.

    ``expiry`` is the member that says when the access token ends; ``now`` is in Unix seconds. What the answer does not
    tell is not among them. Raises OAuthError when there is no access token.
    """
    known = {"refresh_token": answer.get("refresh_token"), **others}
    return {
        "access_token": required(answer, "access_token"),
        **{name: value for name, value in known.items() if isinstance(value, str) and value},
        expiry: expiry_of(answer, now),
    }


def expiry_of(answer: Mapping[str, Any], now: float, default: float = 3600.0) -> str:
    """When the new access token ends, as auth files write it; ``now`` in Unix seconds."""
    seconds = answer.get("expires_in")
    try:
        lifetime = float(seconds) if isinstance(seconds, int | float | str) else default
    except ValueError:
        lifetime = default
    return time_text(now + (lifetime if lifetime > 0 else default))


def time_text(moment: float) -> str:
    """Unix seconds as RFC 3339 in UTC."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def jwt_claims(token: Any) -> dict[str, Any]:
    """The claims of a JWT, its signature not verified (it came from its issuer over TLS); {} for anything else."""
    parts = token.split(".") if isinstance(token, str) else []
    if len(parts) != 3:
        return {}
    try:
        content = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except (binascii.Error, ValueError):
        return {}
    return _object(content) or {}


async def fetch_json(
    http: HttpClient,
    method: str,
    url: str,
    *,
    account: Account,
    headers: Mapping[str, str],
    body: bytes | None = None,
    timeout: float = 20.0,
) -> dict[str, Any]:
    """The JSON object a vendor's endpoint beside its model API answers with, for quota windows for instance.

    Raises UpstreamError with the answer's status: 401 says that the token was refused, other faults are nobody's.
    """
    status, answered, content = await http.request(
        method, url, account=account, headers=headers, body=body, timeout=timeout
    )
    answer = _object(content)
    if 200 <= status < 300 and answer is not None:
        return answer
    error = ErrorInfo(status if status >= 400 else 502, f"the vendor answered {status}", type="server_error")
    error.retry_after = retry_after_of(answered)
    if status == 401:
        raise UpstreamError(error, scope="account", cooldown=0, reason="unauthorized")
    raise UpstreamError(error, scope="none", cooldown=0)


def base_url_of(data: Mapping[str, Any], default: str) -> str:
    """The API's address an auth file names under ``base_url``, else ``default``; without a trailing slash."""
    given = data.get("base_url") or data.get("base-url")
    if isinstance(given, str) and given.strip().lower().startswith(("http://", "https://")):
        return split_userinfo(given.strip().rstrip("/"))[0]
    return default.rstrip("/")


def base_url_setting(settings: Mapping[str, Any], default: str) -> str:
    """``base-url`` of a plugin's settings. Raises ValueError when it is no http or https URL."""
    given = settings.get("base-url") or settings.get("base_url") or default
    if not isinstance(given, str) or not given.lower().startswith(("http://", "https://")):
        raise ValueError("base-url must begin with http:// or https://")
    return split_userinfo(given.rstrip("/"))[0]
