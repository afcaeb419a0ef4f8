"""Gemini API keys: the ``gemini-api-key`` section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cpa.config import Config
from cpa.errors import ErrorInfo, UpstreamError
from cpa.formats.codec import Operation
from cpa.plugins import Account, Provider, UpstreamRequest, classify, hookimpl, server_time
from cpa.plugins.entries import base_headers, custom_headers, in_path, key_accounts
from cpa_gemini.quota import is_daily, until_new_day

BASE_URL = "https://generativelanguage.googleapis.com"
_BAD_KEY = (b"API_KEY_INVALID", b"API key not valid", b"API key expired")
_UNAUTHORIZED_SECONDS = 1800.0


def method(request: UpstreamRequest) -> str:
    """``generateContent`` and its sisters, with the query they need."""
    if request.operation == "count":
        return "countTokens"
    return "streamGenerateContent?alt=sse" if request.stream else "generateContent"


class GeminiProvider(Provider):
    """https://ai.google.dev/api/generate-content"""

    name = "gemini"
    format = "gemini"
    default_base_url = BASE_URL
    model_type = "gemini"
    owned_by = "google"

    def accounts_from_config(self, config: Config) -> Iterable[Account]:
        """One account for each key."""
        return key_accounts(
            config.gemini_api_key, provider="gemini", section="gemini-api-key", default_base_url=BASE_URL
        )

    def supports(self, operation: Operation, account: Account) -> bool:
        """It counts tokens."""
        return operation in ("generate", "count")

    def prepare(self, request: UpstreamRequest) -> None:
        """URL, key and headers; nothing of the client's headers is forwarded."""
        account = request.account
        request.url = f"{account.base_url}/v1beta/models/{in_path(request.model)}:{method(request)}"
        request.headers = {
            **base_headers(request.stream),
            "x-goog-api-key": account.secret,
            **custom_headers(account, request.client_headers),
        }
        if "session_id" in request.body:
            request.body = {key: value for key, value in request.body.items() if key != "session_id"}

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        """A wrong key comes as 400: it is the account's fault, not the request's."""
        if status == 400 and any(mark in body for mark in _BAD_KEY):
            return UpstreamError(error, scope="account", cooldown=_UNAUTHORIZED_SECONDS, reason="unauthorized")
        if error.status == 429 and is_daily(error.details):
            error.retry_after = until_new_day(server_time(headers))
        return classify(status, headers, body, error)


class GeminiPlugin:
    """The plugin."""

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """The provider."""
        return [GeminiProvider()]


def create_plugin() -> GeminiPlugin:
    """The plugin object."""
    return GeminiPlugin()
