"""Log in to Kimi: a code that is typed in on its page (RFC 8628)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from cpa.plugins import Login, LoginOffer, NewLogin, device_code_of, name_part
from cpa.plugins.oauth import jwt_claims, required
from cpa_kimi.oauth import KimiEndpoints, poll_device_login, start_device_login

OFFER = LoginOffer(title="Kimi", methods=("device",), aliases=("moonshot",))


async def log_in(endpoints: KimiEndpoints, login: Login) -> NewLogin:
    """Show a code and wait until it is confirmed. Raises LoginError and OAuthError."""
    device_id = str(uuid.uuid4())
    login.progress("Asking for a code")
    begun = await start_device_login(endpoints, login.http, device_id=device_id)
    device_code = required(begun, "device_code")

    async def ask() -> dict[str, Any]:
        return await poll_device_login(endpoints, login.http, device_code=device_code, device_id=device_id)

    data = await login.confirm(device_code_of(begun), ask)
    who = subject_of(data)
    named = name_part(who) if who else str(data["timestamp"])
    return NewLogin(name=f"kimi-{named}.json", data=data, label=str(data.get("email") or who or "Kimi"))


def subject_of(data: Mapping[str, Any]) -> str:
    """Whose login it is, by its access token; empty when that does not say."""
    subject = jwt_claims(data.get("access_token")).get("sub")
    return subject.strip() if isinstance(subject, str) else ""
