"""OpenAI's authorization server for ChatGPT logins: where it is, how tokens are got, what they say.

The client id is the public one of Codex CLI.
"""

from __future__ import annotations

import time
from typing import Any

from msgspec import Struct

from cpa.plugins import Account, HttpClient
from cpa.plugins.oauth import call_token_endpoint, jwt_claims, required, time_text, token_members

_AUTH = "https://api.openai.com/auth"
_PROFILE = "https://api.openai.com/profile"


class CodexEndpoints(Struct, frozen=True):
    """``plugins.configs.codex.oauth``"""

    client_id: str = "app_EMoamEEZ73f0CkXaXp7hrann"
    authorize_url: str = "https://auth.openai.com/oauth/authorize"
    token_url: str = "https://auth.openai.com/oauth/token"  # noqa: S105 - an address
    device_code_url: str = "https://auth.openai.com/api/accounts/deviceauth/usercode"
    device_token_url: str = "https://auth.openai.com/api/accounts/deviceauth/token"  # noqa: S105 - an address
    device_page: str = "https://auth.openai.com/codex/device"
    device_redirect_uri: str = "https://auth.openai.com/deviceauth/callback"
    usage_url: str = "https://chatgpt.com/backend-api/wham/usage"
    redirect_uri: str = "http://localhost:1455/auth/callback"
    """Registered with the vendor; another port may listen for it, but this is what is sent."""
    scope: str = "openid email profile offline_access"


async def exchange(
    endpoints: CodexEndpoints,
    http: HttpClient,
    *,
    code: str,
    verifier: str,
    redirect_uri: str = "",
    account: Account | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """The members of an auth file for an authorization code; ``account`` gives the proxy. Raises OAuthError.

    A device login gives its own ``redirect_uri``.
    """
    answer = await call_token_endpoint(
        http,
        endpoints.token_url,
        form={
            "grant_type": "authorization_code",
            "client_id": endpoints.client_id,
            "code": code,
            "redirect_uri": redirect_uri or endpoints.redirect_uri,
            "code_verifier": verifier,
        },
        account=account,
        attempts=1,
    )
    required(answer, "refresh_token")
    return {"type": "codex", **_members(answer, time.time() if now is None else now)}


async def refresh(
    endpoints: CodexEndpoints,
    http: HttpClient,
    *,
    refresh_token: str,
    account: Account | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """The changed members of an auth file; what the answer does not name is not among them. Raises OAuthError."""
    answer = await call_token_endpoint(
        http,
        endpoints.token_url,
        form={
            "client_id": endpoints.client_id,
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            "scope": "openid profile email",
        },
        account=account,
    )
    return _members(answer, time.time() if now is None else now)


class CodexIdentity(Struct, frozen=True):
    """Who a ChatGPT login is, by its ``id_token``; empty where the token does not say."""

    email: str = ""
    account_id: str = ""
    plan: str = ""
    """``free``, ``plus``, ``pro``, ``team`` ... in lower case."""


def identity_of(id_token: Any) -> CodexIdentity:
    """What an ``id_token`` says. Claims of an unexpected type count as missing."""
    claims = jwt_claims(id_token)
    auth, profile = _object(claims, _AUTH), _object(claims, _PROFILE)
    return CodexIdentity(
        email=_text(claims.get("email")) or _text(profile.get("email")),
        account_id=_text(auth.get("chatgpt_account_id")),
        plan=_text(auth.get("chatgpt_plan_type")).lower(),
    )


def _members(answer: dict[str, Any], now: float) -> dict[str, Any]:
    who = identity_of(answer.get("id_token"))
    return token_members(
        answer,
        now,
        last_refresh=time_text(now),
        id_token=answer.get("id_token"),
        account_id=who.account_id,
        email=who.email,
    )


def _object(claims: dict[str, Any], name: str) -> dict[str, Any]:
    value = claims.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
