"""Every provider that speaks Chat Completions: the ``openai-compatibility`` section."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from cpa.config import Config
from cpa.conversation.models import ThinkingSupport
from cpa.errors import ErrorInfo, UpstreamError
from cpa.formats.codec import Operation
from cpa.plugins import (
    Account,
    HttpClient,
    Model,
    Provider,
    QuotaWindow,
    UpstreamRequest,
    account_id,
    account_index,
    classify,
    hookimpl,
    mask,
    server_time,
)
from cpa.plugins.cache_key import cache_key
from cpa.plugins.entries import USER_AGENT, address_and_credential, base_headers, custom_headers, entry_fields, mappings
from cpa.plugins.limits import rate_limits
from cpa.plugins.oauth import fetch_json
from cpa.plugins.provider import BuiltinModels
from cpa_openai_compat import openrouter

DEFAULT_THINKING = ThinkingSupport(levels=("low", "medium", "high"), assumed=True)
UNNAMED = "openai-compatibility"
_PATHS: dict[Operation, str] = {"generate": "/chat/completions", "compact": "/responses/compact"}


class OpenAICompatProvider(Provider):
    """Serves all configured names; an account's provider key is the entry's name in lower case."""

    name = "openai-compatibility"
    format = "openai"
    model_type = "openai-compatibility"

    def accounts_from_config(self, config: Config) -> Iterable[Account]:
        """One account for each key of an entry, one without a key for an entry that has none."""
        for index, entry in enumerate(config.openai_compatibility):
            if entry.disabled or not entry.base_url:
                continue
            key = entry.name.lower() or UNNAMED
            kind = f"openai-compatibility:{key}"
            address, credential = address_and_credential(entry.base_url)
            fields: dict[str, Any] = {
                **entry_fields(entry),
                "provider": key,
                "base_url": address,
                "source": f"config:openai-compatibility[{index}]",
                "models": mappings(entry.models, DEFAULT_THINKING),
            }
            fields["settings"] = {
                **fields["settings"],
                "openai_compatibility": True,
                "prompt_cache_key": entry.support_prompt_cache_key,
            }
            if not entry.api_key_entries:
                settings = {**fields["settings"], "scheme": "Basic"}
                yield Account(
                    id=account_id(kind, entry.base_url),
                    kind="none",
                    label=entry.name or key,
                    secret=credential,
                    **{**fields, "settings": settings},
                )
            for held in entry.api_key_entries:
                proxy_url = held.proxy_url or entry.proxy_url
                yield Account(
                    id=account_id(kind, held.api_key, entry.base_url, held.proxy_url),
                    index=account_index(f"openai-compatibility:{entry.base_url}+{held.api_key}"),
                    label=f"{entry.name or key} {mask(held.api_key)}".strip(),
                    secret=held.api_key,
                    **{**fields, "proxy_url": proxy_url},
                )

    def serves(self, account: Account) -> bool:
        """Accounts of the section, whatever their name."""
        return bool(account.settings.get("openai_compatibility"))

    def models(self, account: Account, builtin: BuiltinModels) -> Iterable[Model]:
        """What the entry lists, nothing else. A repeated alias is a pool."""
        for mapping in account.models:
            model = self.configured_model(mapping, lambda channel: ())
            model.owned_by = account.provider
            yield model

    def upstream_format(self, account: Account, operation: Operation) -> str:
        """Compacting is a Responses call."""
        return "openai-response" if operation == "compact" else "openai"

    def supports(self, operation: Operation, account: Account) -> bool:
        """There is no counting endpoint."""
        return operation in _PATHS

    def read_quota(self, account: Account, headers: Mapping[str, str], now: float) -> list[QuotaWindow] | None:
        """The rate limits that OpenAI and many others tell of."""
        return rate_limits(headers, now) or None

    async def query_quota(self, account: Account, http: HttpClient) -> list[QuotaWindow] | None:
        """The credit of an OpenRouter key; nobody else has a common way to ask."""
        if not account.secret or urlsplit(account.base_url).hostname != openrouter.HOST:
            return None
        headers = {"Authorization": f"Bearer {account.secret}", "Accept": "application/json", "User-Agent": USER_AGENT}
        answer = await fetch_json(http, "GET", f"{account.base_url}/key", account=account, headers=headers)
        return openrouter.credit(answer, time.time())

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        """The common table, with what OpenRouter says of its limits."""
        if error.status == 429 and error.retry_after is None:
            error.retry_after = openrouter.reset_in(headers, error, server_time(headers))
        return classify(status, headers, body, error)

    def prepare(self, request: UpstreamRequest) -> None:
        """URL, key and headers."""
        account = request.account
        request.url = account.base_url + _PATHS.get(request.operation, "/chat/completions")
        headers = base_headers(request.stream)
        if account.secret:
            headers["Authorization"] = f"{account.settings.get('scheme', 'Bearer')} {account.secret}"
        headers |= custom_headers(account, request.client_headers)
        if account.settings.get("prompt_cache_key") and (key := cache_key(request)):
            request.body = {**request.body, "prompt_cache_key": key}
        if request.stream:
            headers |= {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        request.headers = headers


class OpenAICompatPlugin:
    """The plugin."""

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """One provider for the whole section."""
        return [OpenAICompatProvider()]


def create_plugin() -> OpenAICompatPlugin:
    """The plugin object."""
    return OpenAICompatPlugin()
