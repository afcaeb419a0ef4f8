"""Log in to ChatGPT for Codex: a page in the browser with PKCE, or a code that is typed in elsewhere."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from cpa.errors import LoginError, OAuthError
from cpa.plugins import DeviceCode, Login, LoginOffer, NewLogin, device_code_of, name_part, new_pkce
from cpa.plugins.oauth import call_token_endpoint, required
from cpa_codex.oauth import CodexEndpoints, CodexIdentity, exchange, identity_of

OFFER = LoginOffer(title="ChatGPT (Codex)", methods=("browser", "device"), aliases=("openai", "chatgpt"))
_PENDING = (403, 404)
_OTHER_THAN_WORD = re.compile(r"[^0-9a-z]+")


async def log_in(endpoints: CodexEndpoints, login: Login) -> NewLogin:
    """Log in by the method that was asked for. Raises LoginError and OAuthError."""
    data = await (_by_code if login.options.method == "device" else _in_browser)(endpoints, login)
    who = identity_of(data.get("id_token"))
    if not who.email:
        raise LoginError("bad_answer", "missing account information: the token names no e-mail address")
    plain, hashed = file_names(who)
    return NewLogin(
        name=plain,
        spare_name=hashed,
        data=data,
        label=who.email,
        notes=(f"plan: {who.plan}",) if who.plan else (),
    )


async def _in_browser(endpoints: CodexEndpoints, login: Login) -> dict[str, Any]:
    pkce = new_pkce()
    redirect_uri = login.redirect_uri(endpoints.redirect_uri)
    query = {
        "client_id": endpoints.client_id,
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "scope": endpoints.scope,
        "state": login.state,
        "code_challenge": pkce.challenge,
        "code_challenge_method": "S256",
        "prompt": "login",
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
    }
    code = await login.authorize(f"{endpoints.authorize_url}?{urlencode(query)}", redirect_uri)
    return await exchange(endpoints, login.http, code=code, verifier=pkce.verifier)


async def _by_code(endpoints: CodexEndpoints, login: Login) -> dict[str, Any]:
    login.progress("Asking for a code")
    try:
        begun = await call_token_endpoint(
            login.http, endpoints.device_code_url, json={"client_id": endpoints.client_id}, attempts=1
        )
    except OAuthError as fault:
        if fault.status == 404:
            message = "this deployment has no login by code: log in with a browser"
            raise LoginError("device_login_unavailable", message) from None
        raise
    code, device_id = device_code_of(begun, page=endpoints.device_page), required(begun, "device_auth_id")
    granted = await login.confirm(code, lambda: _ask(endpoints, login, code, device_id))
    return await exchange(
        endpoints,
        login.http,
        code=required(granted, "authorization_code"),
        verifier=required(granted, "code_verifier"),
        redirect_uri=endpoints.device_redirect_uri,
    )


async def _ask(endpoints: CodexEndpoints, login: Login, code: DeviceCode, device_id: str) -> dict[str, Any] | None:
    """What confirms the code; None while nobody has. Raises OAuthError."""
    sent = {"device_auth_id": device_id, "user_code": code.user_code}
    try:
        return await call_token_endpoint(login.http, endpoints.device_token_url, json=sent, attempts=1)
    except OAuthError as fault:
        if fault.status in _PENDING:
            return None
        if fault.status:
            raise LoginError("code_exchange_failed", f"the code could not be confirmed: {fault}") from None
        raise


def file_names(who: CodexIdentity) -> tuple[str, str]:
    """The name of the login's auth file, and the one for a second workspace of the same address and plan ('' for none).

    A team's name begins with a hash of its account: one person can be in several.
    """
    plan = _OTHER_THAN_WORD.sub("-", who.plan).strip("-")
    email, ending = name_part(who.email), f"-{plan}" if plan else ""
    short = sha256(who.account_id.encode()).hexdigest()[:8] if who.account_id else ""
    plain, hashed = f"codex-{email}{ending}.json", f"codex-{short}-{email}{ending}.json"
    if not short:
        return plain, ""
    return (hashed, "") if plan == "team" else (plain, hashed)
