"""Claude's authorization server: where it is, and how tokens are got from it.

The client id is the public one of Claude Code. Nothing here is documented by the vendor.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from cpa.errors import OAuthError
from cpa.plugins import Account, HttpClient
from cpa.plugins.oauth import call_token_endpoint, required, time_text, token_members


class ClaudeEndpoints(Struct, frozen=True):
    """``plugins.configs.claude.oauth``"""

    client_id: str = "9d1c250a-e61b-44d9-88ed-5944d1962f5e"
    authorize_url: str = "https://claude.ai/oauth/authorize"
    token_url: str = "https://api.anthropic.com/v1/oauth/token"  # noqa: S105 - an address
    profile_url: str = "https://api.anthropic.com/api/oauth/profile"
    usage_url: str = "https://api.anthropic.com/api/oauth/usage"
    redirect_uri: str = "http://localhost:54545/callback"
    """Registered with the vendor; another port may listen for it, but this is what is sent."""
    scope: str = "user:profile user:inference user:sessions:claude_code user:mcp_servers user:file_upload"


async def exchange(
    endpoints: ClaudeEndpoints,
    http: HttpClient,
    *,
    code: str,
    state: str,
    verifier: str,
    account: Account | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """The members of an auth file for an authorization code. ``CODE#STATE`` is accepted as code.

    ``account`` gives the proxy. Raises OAuthError; an answer that names no e-mail address is an error, too.
    """
    code, _, said = code.partition("#")
    answer = await call_token_endpoint(
        http,
        endpoints.token_url,
        json={
            "code": code,
            "state": said or state,
            "grant_type": "authorization_code",
            "client_id": endpoints.client_id,
            "redirect_uri": endpoints.redirect_uri,
            "code_verifier": verifier,
        },
        account=account,
        attempts=1,
    )
    members = _members(answer, time.time() if now is None else now)
    if not members.get("email"):
        raise OAuthError("the token endpoint named no e-mail address", status=502, code="bad_answer")
    required(answer, "refresh_token")
    return {"type": "claude", "id_token": "", **members}


async def refresh(
    endpoints: ClaudeEndpoints,
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
        json={"client_id": endpoints.client_id, "grant_type": "refresh_token", "refresh_token": refresh_token},
        account=account,
    )
    return _members(answer, time.time() if now is None else now)


def _members(answer: dict[str, Any], now: float) -> dict[str, Any]:
    person, organization = _object(answer, "account"), _object(answer, "organization")
    return token_members(
        answer,
        now,
        last_refresh=time_text(now),
        email=person.get("email_address"),
        account_uuid=person.get("uuid"),
        organization_uuid=organization.get("uuid"),
        organization_name=organization.get("name"),
    )


def identity_of(profile: Mapping[str, Any]) -> dict[str, str]:
    """Whose login it is, by the profile endpoint, as members of an auth file; only what it tells."""
    person, organization = _object(profile, "account"), _object(profile, "organization")
    known = {
        "email": person.get("email") or person.get("email_address"),
        "account_uuid": person.get("uuid"),
        "organization_uuid": organization.get("uuid"),
        "organization_name": organization.get("name"),
    }
    return {name: value.strip() for name, value in known.items() if isinstance(value, str) and value.strip()}


def _object(answer: Mapping[str, Any], member: str) -> dict[str, Any]:
    value = answer.get(member)
    return value if isinstance(value, dict) else {}
