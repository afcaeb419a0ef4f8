"""Service accounts of Google Cloud: from the key file to a request with a token."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from multidict import CIMultiDict

from cpa.config.load import load_text
from cpa.errors import UpstreamError
from cpa.plugins import Account, UpstreamRequest
from cpa_vertex import VertexProvider

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: Any) -> str:
    return str(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()
    )


PEM = pem(KEY)


class Google:
    """Gives tokens to those whose signature is right, as oauth2.googleapis.com does."""

    def __init__(self, lifetime: int = 3600) -> None:
        self.lifetime = lifetime
        self.asked: list[dict[str, Any]] = []
        self.refusal: tuple[int, bytes] | None = None

    async def request(
        self, method: str, url: str, *, body: bytes = b"", headers: Any = None, **options: Any
    ) -> tuple[int, dict[str, str], bytes]:
        form = parse_qs(body.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        signing, _, signature = form["assertion"][0].rpartition(".")
        KEY.public_key().verify(_unpacked(signature), signing.encode(), padding.PKCS1v15(), hashes.SHA256())
        header, claims = (orjson.loads(_unpacked(part)) for part in signing.split("."))
        self.asked.append({"url": url, "method": method, **header, **claims})
        await asyncio.sleep(0)
        if self.refusal is not None:
            return self.refusal[0], {}, self.refusal[1]
        token = {"access_token": f"ya29.{len(self.asked)}", "expires_in": self.lifetime}
        return 200, {}, orjson.dumps(token)


def _unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def account(provider: VertexProvider, private_key: str = PEM, mail: str = "s@p.iam", **members: Any) -> Account:
    service = {"client_email": mail, "private_key": private_key, "private_key_id": "kid", "project_id": "inner"}
    data = {"type": "vertex", "service_account": service, **members}
    (found,) = provider.accounts_from_file("/auth/v.json", data) or []
    return found


def request(provider: VertexProvider, found: Account, operation: Any = "generate", stream: bool = False) -> Any:
    prepared = UpstreamRequest(
        account=found,
        model="gemini-x",
        body={},
        operation=operation,
        stream=stream,
        client_format="openai",
        client_headers=CIMultiDict(),
        upstream_format="gemini",
        config=load_text("", environ={}).config,
    )
    provider.prepare(prepared)
    return prepared


@pytest.mark.parametrize(
    ("members", "operation", "stream", "url"),
    [
        (
            {"project_id": "p", "location": "europe-west6"},
            "generate",
            False,
            "https://europe-west6-aiplatform.googleapis.com/v1/projects/p/locations/europe-west6/publishers/google/models/gemini-x:generateContent",
        ),
        (
            {"location": "global"},
            "generate",
            True,
            "https://aiplatform.googleapis.com/v1/projects/inner/locations/global/publishers/google/models/gemini-x:streamGenerateContent?alt=sse",
        ),
        (
            {},
            "count",
            False,
            "https://us-central1-aiplatform.googleapis.com/v1/projects/inner/locations/us-central1/publishers/google/models/gemini-x:countTokens",
        ),
    ],
)
def test_a_request_goes_to_the_place_of_the_project(
    members: dict[str, Any], operation: Any, stream: bool, url: str
) -> None:
    provider = VertexProvider()
    assert request(provider, account(provider, **members), operation, stream).url == url


async def test_a_signed_assertion_is_exchanged_for_a_token_once() -> None:
    provider, google = VertexProvider(), Google()
    found = account(provider)
    sent = [request(provider, found) for _ in range(5)]
    await asyncio.gather(*(provider.authorize(one, google) for one in sent))  # type: ignore[arg-type]
    assert {one.headers["Authorization"] for one in sent} == {"Bearer ya29.1"}
    assert "x-goog-api-key" not in sent[0].headers
    (asked,) = google.asked
    assert (asked["url"], asked["method"]) == ("https://oauth2.googleapis.com/token", "POST")
    assert (asked["alg"], asked["kid"], asked["iss"], asked["aud"]) == ("RS256", "kid", "s@p.iam", asked["url"])
    assert asked["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert asked["exp"] - asked["iat"] == 3600


async def test_a_token_near_its_end_and_one_of_another_key_file_are_made_anew() -> None:
    provider, google = VertexProvider(), Google(lifetime=30)
    for _ in range(2):
        await provider.authorize(request(provider, account(provider)), google)  # type: ignore[arg-type]
    assert len(google.asked) == 2
    google.lifetime = 3600
    for mail in ("s@p.iam", "s@p.iam", "other@p.iam"):
        await provider.authorize(request(provider, account(provider, mail=mail)), google)  # type: ignore[arg-type]
    assert [asked["iss"] for asked in google.asked[2:]] == ["s@p.iam", "other@p.iam"]


@pytest.mark.parametrize(
    ("answer", "scope", "status"),
    [
        ((400, b'{"error":"invalid_grant","error_description":"Invalid JWT"}'), "account", 401),
        ((401, b"{}"), "account", 401),
        ((503, b"<html>busy</html>"), "none", 502),
        ((200, b"{}"), "none", 502),
    ],
)
async def test_a_refusal_cools_the_account_and_a_fault_of_google_does_not(
    answer: tuple[int, bytes], scope: str, status: int
) -> None:
    provider, google = VertexProvider(), Google()
    google.refusal = answer
    with pytest.raises(UpstreamError) as refused:
        await provider.authorize(request(provider, account(provider)), google)  # type: ignore[arg-type]
    assert (refused.value.scope, refused.value.error.status) == (scope, status)
    assert refused.value.cooldown == (1800.0 if scope == "account" else 0)
    assert "PRIVATE" not in str(refused.value)


@pytest.mark.parametrize("key", ["", "no key", pem(ec.generate_private_key(ec.SECP256R1())), PEM[:200]])
async def test_a_key_that_cannot_sign_is_the_accounts_fault_and_is_not_shown(key: str) -> None:
    provider = VertexProvider()
    with pytest.raises(UpstreamError, match="private key cannot be read") as refused:
        await provider.authorize(request(provider, account(provider, key)), Google())  # type: ignore[arg-type]
    assert refused.value.scope == "account"


def test_a_file_that_lacks_something_is_no_account_and_keys_are_not_printed() -> None:
    provider = VertexProvider()
    assert provider.accounts_from_file("/auth/c.json", {"type": "claude"}) is None
    assert not provider.accounts_from_file("/auth/v.json", {"type": "vertex", "service_account": {"client_email": "x"}})
    assert "PRIVATE" not in repr(account(provider))
    assert account(provider).settings["service_account"].private_key.startswith("-----BEGIN")
