"""Log in to Claude: a page in the browser, with PKCE."""

from __future__ import annotations

from hashlib import sha256
from urllib.parse import urlencode

from cpa.plugins import Login, LoginOffer, NewLogin, name_part, new_pkce
from cpa_claude.oauth import ClaudeEndpoints, exchange

OFFER = LoginOffer(title="Claude", methods=("browser",), aliases=("anthropic",), route="anthropic")


async def log_in(endpoints: ClaudeEndpoints, login: Login) -> NewLogin:
    """Ask for a code in the browser and exchange it. Raises LoginError and OAuthError."""
    pkce = new_pkce()
    redirect_uri = login.redirect_uri(endpoints.redirect_uri)
    query = {
        "code": "true",
        "client_id": endpoints.client_id,
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "scope": endpoints.scope,
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
        "state": login.state,
    }
    code = await login.authorize(f"{endpoints.authorize_url}?{urlencode(query)}", redirect_uri)
    data = await exchange(endpoints, login.http, code=code, state=login.state, verifier=pkce.verifier)
    email, organization = str(data["email"]), str(data.get("organization_uuid") or "")
    short = sha256(organization.encode()).hexdigest()[:8]
    return NewLogin(
        name=f"claude-{name_part(email)}.json",
        spare_name=f"claude-{short}-{name_part(email)}.json" if organization else "",
        data=data,
        label=email,
    )
