"""Google service accounts: from the JSON key to an access token.

https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import Any
from urllib.parse import urlencode

import orjson
from msgspec import Struct

from cpa.errors import ErrorInfo, UpstreamError
from cpa.plugins import Account, HttpClient

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
LIFETIME = 3600
EARLY = 60.0


class ServiceAccount(Struct, frozen=True):
    """What of a service account's key file is needed."""

    client_email: str
    private_key: str
    private_key_id: str
    project: str
    location: str
    token_uri: str

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email!r})"


def read_service_account(data: dict[str, Any]) -> ServiceAccount | None:
    """The service account in an auth file, None when something it needs is missing."""
    inner = data.get("service_account")
    if not isinstance(inner, dict):
        return None
    key, mail = inner.get("private_key"), inner.get("client_email")
    project = data.get("project_id") or data.get("project") or inner.get("project_id")
    if not (isinstance(key, str) and isinstance(mail, str) and isinstance(project, str)):
        return None
    return ServiceAccount(
        client_email=mail,
        private_key=key.replace("\r\n", "\n"),
        private_key_id=str(inner.get("private_key_id") or ""),
        project=project,
        location=str(data.get("location") or "us-central1"),
        token_uri=str(inner.get("token_uri") or TOKEN_URI),
    )


def location_host(location: str) -> str:
    """The API host of a location."""
    return (
        "https://aiplatform.googleapis.com" if location == "global" else f"https://{location}-aiplatform.googleapis.com"
    )


class TokenSource:
    """Access tokens by account, one request in flight for each."""

    def __init__(self) -> None:
        self._tokens: dict[str, tuple[str, float, ServiceAccount]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def token(self, account: Account, service: ServiceAccount, http: HttpClient) -> str:
        """A token that is good for at least a minute. Raises UpstreamError when Google refuses."""
        async with self._locks.setdefault(account.id, asyncio.Lock()):
            known = self._tokens.get(account.id)
            if known is not None and known[1] > time.time() + EARLY and known[2] == service:
                return known[0]
            assertion = await asyncio.to_thread(signed_assertion, service, int(time.time()))
            form = urlencode({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion})
            status, _, body = await http.request(
                "POST",
                service.token_uri,
                account=account,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                body=form.encode(),
            )
            token, lifetime = _read(status, body)
            self._tokens[account.id] = (token, time.time() + lifetime, service)
            return token


def _read(status: int, body: bytes) -> tuple[str, float]:
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = {}
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if status == 200 and isinstance(token, str):
        lifetime = answer.get("expires_in")
        return token, float(lifetime) if isinstance(lifetime, int | float) else LIFETIME
    reason = answer.get("error") if isinstance(answer, dict) else None
    unauthorized = reason == "invalid_grant" or status in (400, 401)
    error = ErrorInfo(
        401 if unauthorized else 502,
        f"Google gave no access token for the service account ({reason or status})",
        type="authentication_error" if unauthorized else "server_error",
    )
    return _refuse(error, unauthorized)


def _refuse(error: ErrorInfo, unauthorized: bool) -> tuple[str, float]:
    if unauthorized:
        raise UpstreamError(error, scope="account", cooldown=1800.0, reason="unauthorized")
    raise UpstreamError(error, scope="none", cooldown=0)


def signed_assertion(service: ServiceAccount, now: int) -> str:
    """The RS256-signed JWT that is exchanged for a token. Raises UpstreamError when the key is no RSA key."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    try:
        key = serialization.load_pem_private_key(service.private_key.encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        error = ErrorInfo(401, "the service account's private key cannot be read", type="authentication_error")
        raise UpstreamError(error, scope="account", cooldown=1800.0, reason="unauthorized")
    header = {"alg": "RS256", "typ": "JWT", "kid": service.private_key_id}
    claims = {
        "iss": service.client_email,
        "scope": SCOPE,
        "aud": service.token_uri,
        "iat": now,
        "exp": now + LIFETIME,
    }
    signing = f"{_part(header)}.{_part(claims)}"
    signature = key.sign(signing.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{signing}.{_url64(signature)}"


def _part(value: dict[str, Any]) -> str:
    return _url64(orjson.dumps(value))


def _url64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
