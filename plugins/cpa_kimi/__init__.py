"""Kimi for coding: logins from Kimi's device flow (auth files of type ``kimi``)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from cpa.formats.codec import Operation
from cpa.plugins import (
    Account,
    HttpClient,
    Login,
    Model,
    NewLogin,
    Provider,
    QuotaWindow,
    UpstreamRequest,
    file_account,
    hookimpl,
    provider_of,
)
from cpa.plugins.entries import base_headers, custom_headers
from cpa.plugins.oauth import base_url_of, base_url_setting, endpoints_of, fetch_json
from cpa.plugins.provider import BuiltinModels
from cpa_kimi import oauth, quota
from cpa_kimi.login import OFFER, log_in, subject_of
from cpa_kimi.messages import mended
from cpa_kimi.oauth import KimiEndpoints, device_headers

BASE_URL = "https://api.kimi.com/coding"
PREFIX = "kimi-"
"""What the catalogue puts before names that Kimi knows without it."""
_CLAUDE_VERSION = "2023-06-01"


class KimiProvider(Provider):
    """Kimi's coding API: Chat Completions, and Messages for clients that speak them."""

    name = "kimi"
    format = "openai"
    default_base_url = BASE_URL
    model_type = "kimi"
    owned_by = "moonshot"
    credential_hosts = frozenset({"api.kimi.com"})
    refresh_lead = 300.0
    login_offer = OFFER

    def __init__(self) -> None:
        self.endpoints = KimiEndpoints()
        self.base_url = BASE_URL
        self._renamed: dict[str, tuple[Model, Model]] = {}

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> Iterable[Account] | None:
        """The account of a login; None for other files and for one without tokens."""
        token = data.get("access_token")
        if provider_of(data) != "kimi" or not (token or data.get("refresh_token")):
            return None
        settings = {"device_id": device_id_of(data)}
        secret = token if isinstance(token, str) else ""
        return [file_account(path, data, secret=secret, base_url=base_url_of(data, self.base_url), settings=settings)]

    def models(self, account: Account, builtin: BuiltinModels) -> Iterable[Model]:
        """The catalogue's, asked for under the names Kimi knows."""
        return [self._known_to_kimi(model) for model in super().models(account, builtin)]

    def _known_to_kimi(self, model: Model) -> Model:
        """The same object for the same model, which thousands of accounts then share."""
        source, renamed = self._renamed.get(model.id, (None, model))
        if source is not model:
            renamed = replace(model, upstream=(model.upstream or model.id).removeprefix(PREFIX))
            self._renamed[model.id] = (model, renamed)
        return renamed

    def format_for(self, account: Account, operation: Operation, client_format: str) -> str:
        """Messages clients are answered in their own format; tokens are counted there, too."""
        return "claude" if client_format == "claude" or operation == "count" else "openai"

    def supports(self, operation: Operation, account: Account) -> bool:
        """It counts tokens."""
        return operation in ("generate", "count")

    def prepare(self, request: UpstreamRequest) -> None:
        """URL, token, the device's headers, and messages as Kimi takes them."""
        account, client = request.account, request.client_headers
        headers = {**base_headers(request.stream), "Authorization": f"Bearer {account.secret}"}
        headers |= device_headers(str(account.settings.get("device_id") or ""))
        if request.upstream_format == "claude":
            path = "/v1/messages/count_tokens" if request.operation == "count" else "/v1/messages"
            request.url = f"{account.base_url}{path}?beta=true"
            flags = f"{client.get('Anthropic-Beta', '')},{request.headers.get('anthropic-beta', '')}".split(",")
            if betas := ",".join(dict.fromkeys(flag.strip() for flag in flags if flag.strip())):
                headers["anthropic-beta"] = betas
            headers["anthropic-version"] = client.get("Anthropic-Version") or _CLAUDE_VERSION
        else:
            request.url = f"{account.base_url}/v1/chat/completions"
            messages = request.body.get("messages")
            if isinstance(messages, list) and (fixed := mended(messages)) is not messages:
                request.body = {**request.body, "messages": fixed}
        agent = request.config.kimi_header_defaults.user_agent
        if agent:
            headers["User-Agent"] = agent
        request.headers = {**headers, **custom_headers(account, client)}

    async def login(self, login: Login) -> NewLogin:
        """Log somebody in."""
        return await log_in(self.endpoints, login)

    def login_identity(self, data: Mapping[str, Any]) -> Mapping[str, str]:
        """Whom the access token names."""
        return {"sub": subject_of(data)}

    async def refresh(self, account: Account, http: HttpClient) -> dict[str, Any] | None:
        """New tokens."""
        return await oauth.refresh(
            self.endpoints,
            http,
            refresh_token=str(account.metadata.get("refresh_token") or ""),
            device_id=device_id_of(account.metadata),
            account=account,
        )

    async def query_quota(self, account: Account, http: HttpClient) -> list[QuotaWindow] | None:
        """The windows of the subscription."""
        headers = {
            "Authorization": f"Bearer {account.secret}",
            "Accept": "application/json",
            **device_headers(device_id_of(account.metadata)),
        }
        answer = await fetch_json(http, "GET", self.endpoints.usage_url, account=account, headers=headers)
        return quota.from_usages(answer, time.time())


def device_id_of(data: Mapping[str, Any]) -> str:
    """The device a login belongs to; empty when its file does not say."""
    value = data.get("device_id")
    return value.strip() if isinstance(value, str) else ""


class KimiPlugin:
    """The plugin."""

    def __init__(self) -> None:
        self._provider = KimiProvider()

    @hookimpl
    def cpa_configure(self, settings: Mapping[str, Any]) -> None:
        """Take ``base-url`` and ``oauth``. Raises ValueError for what cannot be used."""
        base_url, endpoints = base_url_setting(settings, BASE_URL), endpoints_of(KimiEndpoints, settings)
        self._provider.base_url, self._provider.endpoints = base_url, endpoints

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """The provider."""
        return [self._provider]


def create_plugin() -> KimiPlugin:
    """The plugin object."""
    return KimiPlugin()
