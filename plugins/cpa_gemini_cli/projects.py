"""Which Google Cloud project a login without one may use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from cpa.errors import OAuthError, UpstreamError
from cpa.plugins import Account, HttpClient
from cpa.plugins.entries import USER_AGENT
from cpa.plugins.oauth import fetch_json

METADATA = {"ideType": "IDE_UNSPECIFIED", "platform": "PLATFORM_UNSPECIFIED", "pluginType": "GEMINI"}


def project_of(answer: Mapping[str, Any]) -> str:
    """``cloudaicompanionProject`` as text or as an object with ``id``; empty when there is none."""
    found = answer.get("cloudaicompanionProject")
    if isinstance(found, Mapping):
        found = found.get("id")
    return found.strip() if isinstance(found, str) else ""


async def discover_project(http: HttpClient, base_url: str, access_token: str, account: Account) -> str:
    """The project Code Assist has for a login. Raises OAuthError when there is none: one must be chosen."""
    try:
        answer = await fetch_json(
            http,
            "POST",
            f"{base_url}/v1internal:loadCodeAssist",
            account=account,
            headers={
                "Authorization": f"Bearer {access_token}",
                "Content-Type": "application/json",
                "User-Agent": USER_AGENT,
            },
            body=orjson.dumps({"metadata": METADATA}),
        )
    except UpstreamError as fault:
        raise OAuthError(f"no project found: {fault.error.message}", status=fault.error.status) from None
    project = project_of(answer)
    if not project:
        message = "Google has no project for this login: log in again and choose one, or set project_id in its file"
        raise OAuthError(message, status=400, code="project_required", terminal=True)
    return project
