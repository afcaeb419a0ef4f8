"""Kimi's authorization server: where it is, and how tokens are got from it (RFC 8628, RFC 6749).

The client id is the public one of Kimi CLI.
"""

from __future__ import annotations

import platform
import re
import socket
import time
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from cpa import __version__
from cpa.plugins import Account, HttpClient
from cpa.plugins.oauth import call_token_endpoint, required, token_members

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


class KimiEndpoints(Struct, frozen=True):
    """``plugins.configs.kimi.oauth``"""

    client_id: str = "17e5f671-d194-4dfb-9706-5516cb48c098"
    device_authorization_url: str = "https://auth.kimi.com/api/oauth/device_authorization"
    token_url: str = "https://auth.kimi.com/api/oauth/token"  # noqa: S105 - an address
    usage_url: str = "https://api.kimi.com/coding/v1/usages"


def device_headers(device_id: str) -> dict[str, str]:
    """The headers every call to Kimi needs: which program on which device. cpa says who it is."""
    headers = {
        "X-Msh-Platform": "cpa",
        "X-Msh-Version": __version__,
        "X-Msh-Device-Name": _printable(socket.gethostname()) or "unknown",
        "X-Msh-Device-Model": _printable(f"{platform.system()} {platform.machine()}"),
    }
    return {**headers, "X-Msh-Device-Id": device_id} if device_id else headers


async def start_device_login(
    endpoints: KimiEndpoints, http: HttpClient, *, device_id: str, account: Account | None = None
) -> dict[str, Any]:
    """``device_code``, ``user_code``, ``verification_uri``, ``expires_in`` ... as the server gives them.

    ``account`` gives the proxy. Raises OAuthError.
    """
    return await call_token_endpoint(
        http,
        endpoints.device_authorization_url,
        form={"client_id": endpoints.client_id},
        headers=device_headers(device_id),
        account=account,
    )


async def poll_device_login(
    endpoints: KimiEndpoints,
    http: HttpClient,
    *,
    device_code: str,
    device_id: str,
    account: Account | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """The members of an auth file once the user has agreed.

    Raises OAuthError: with code ``authorization_pending`` or ``slow_down`` to ask again later, other codes are final.
    """
    answer = await call_token_endpoint(
        http,
        endpoints.token_url,
        form={"client_id": endpoints.client_id, "device_code": device_code, "grant_type": DEVICE_GRANT},
        headers=device_headers(device_id),
        account=account,
        attempts=1,
    )
    required(answer, "refresh_token")
    moment = time.time() if now is None else now
    return {
        "type": "kimi",
        **_members(answer, moment),
        "device_id": device_id,
        "timestamp": int(moment * 1000),
    }


async def refresh(
    endpoints: KimiEndpoints,
    http: HttpClient,
    *,
    refresh_token: str,
    device_id: str,
    account: Account | None = None,
    now: float | None = None,
) -> dict[str, Any]:
    """The changed members of an auth file. Raises OAuthError; 401 and 403 mean that the login is over."""
    answer = await call_token_endpoint(
        http,
        endpoints.token_url,
        form={"client_id": endpoints.client_id, "grant_type": "refresh_token", "refresh_token": refresh_token},
        headers=device_headers(device_id),
        account=account,
        refused=(401, 403),
    )
    return _members(answer, time.time() if now is None else now)


def _members(answer: Mapping[str, Any], now: float) -> dict[str, Any]:
    return token_members(answer, now, token_type=answer.get("token_type"), scope=answer.get("scope"))


def _printable(text: str) -> str:
    return _UNPRINTABLE.sub("", text).strip()
