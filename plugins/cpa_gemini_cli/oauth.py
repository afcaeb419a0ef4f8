"""Google's authorization server for Gemini CLI logins: where it is, and how tokens are got from it.

https://developers.google.com/identity/protocols/oauth2/native-app. The client id is the public one of Gemini CLI; its
installed-app secret is not part of cpa: it stands in every auth file, in ``plugins.configs.gemini_cli.oauth`` or in
the environment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from cpa.errors import OAuthError
from cpa.plugins import Account, HttpClient
from cpa.plugins.oauth import call_token_endpoint, endpoints_of, required, token_members

CLIENT_SECRET_VARIABLE = "CPA_GEMINI_CLI_CLIENT_SECRET"  # noqa: S105 - a name
_GOOGLE = "https://www.googleapis.com"


class GeminiCliEndpoints(Struct, frozen=True):
    """``plugins.configs.gemini_cli.oauth``"""

    client_id: str = "681255809395-oo8ft2oprdrnp9e3aqf6av3hmdib135j.apps.googleusercontent.com"
    client_secret: str = ""
    authorize_url: str = "https://accounts.google.com/o/oauth2/auth"
    token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
    userinfo_url: str = f"{_GOOGLE}/oauth2/v1/userinfo?alt=json"
    projects_url: str = "https://cloudresourcemanager.googleapis.com/v1/projects"
    services_url: str = "https://serviceusage.googleapis.com/v1"
    code_assist_url: str = "https://cloudcode-pa.googleapis.com"
    redirect_uri: str = "http://localhost:8085/oauth2callback"
    """Its port follows the port that is listened on."""
    scopes: tuple[str, ...] = (
        f"{_GOOGLE}/auth/cloud-platform",
        f"{_GOOGLE}/auth/userinfo.email",
        f"{_GOOGLE}/auth/userinfo.profile",
    )

    def __repr__(self) -> str:
        return f"GeminiCliEndpoints({self.client_id!r})"


def gemini_cli_endpoints(settings: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> GeminiCliEndpoints:
    """The endpoints of the plugin's settings, with the client secret of the environment where they have none.

    Raises ValueError as :func:`cpa.plugins.oauth.endpoints_of` does.
    """
    endpoints = endpoints_of(GeminiCliEndpoints, settings)
    secret = endpoints.client_secret or environ.get(CLIENT_SECRET_VARIABLE, "").strip()
    return replace(endpoints, client_secret=secret)


async def exchange(
    endpoints: GeminiCliEndpoints,
    http: HttpClient,
    *,
    code: str,
    verifier: str,
    redirect_uri: str = "",
    account: Account | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """The ``token`` member of an auth file for an authorization code. Raises OAuthError.

    ``account`` gives the proxy.
    """
    answer = await call_token_endpoint(
        http,
        endpoints.token_url,
        form={
            "code": code,
            "client_id": endpoints.client_id,
            "client_secret": required_secret(endpoints.client_secret),
            "code_verifier": verifier,
            "redirect_uri": redirect_uri or endpoints.redirect_uri,
            "grant_type": "authorization_code",
        },
        account=account,
        attempts=1,
    )
    required(answer, "refresh_token")
    return {
        **_fresh(answer, time.time() if now is None else now),
        "token_uri": endpoints.token_url,
        "client_id": endpoints.client_id,
        "client_secret": endpoints.client_secret,
        "scopes": list(endpoints.scopes),
        "universe_domain": "googleapis.com",
    }


async def refresh(
    endpoints: GeminiCliEndpoints,
    http: HttpClient,
    *,
    data: Mapping[str, Any],
    account: Account | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """The changed members of an auth file whose members are ``data``: ``token``, and its copies at the top level.

    The file's own client comes first: a refresh token belongs to the client it was given to. Raises OAuthError.
    """
    known = token_of(data)
    answer = await call_token_endpoint(
        http,
        endpoints.token_url,
        form={
            "client_id": _text(known, "client_id") or endpoints.client_id,
            "client_secret": required_secret(_text(known, "client_secret") or endpoints.client_secret),
            "grant_type": "refresh_token",
            "refresh_token": _text(known, "refresh_token"),
        },
        account=account,
    )
    fresh = _fresh(answer, time.time() if now is None else now)
    copies = {name: value for name, value in fresh.items() if name in data}
    return {**copies, "token": {**known, **fresh}}


def token_of(data: Mapping[str, Any]) -> dict[str, Any]:
    """The token object of an auth file; members at the top level count where it lacks them."""
    inner = data.get("token")
    token = dict(inner) if isinstance(inner, dict) else {}
    for name in ("access_token", "refresh_token", "token_type", "expiry"):
        if not token.get(name) and isinstance(data.get(name), str) and data[name]:
            token[name] = data[name]
    return token


def required_secret(secret: str) -> str:
    """The client secret. Raises OAuthError with what to do when there is none."""
    if not secret:
        raise OAuthError(
            "Google's client secret of Gemini CLI is not set: put it into"
            f" plugins.configs.gemini_cli.oauth.client-secret or the environment variable {CLIENT_SECRET_VARIABLE}",
            status=400,
            code="client_secret_missing",
        )
    return secret


def _fresh(answer: dict[str, Any], now: float) -> dict[str, Any]:
    return token_members(answer, now, expiry="expiry", token_type=answer.get("token_type"))


def _text(token: Mapping[str, Any], name: str) -> str:
    value = token.get(name)
    return value.strip() if isinstance(value, str) else ""


__all__ = [
    "CLIENT_SECRET_VARIABLE",
    "GeminiCliEndpoints",
    "exchange",
    "gemini_cli_endpoints",
    "refresh",
    "required_secret",
    "token_of",
]
