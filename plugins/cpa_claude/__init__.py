"""Claude: API keys (``claude-api-key``) and logins (auth files of type ``claude``)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cpa.config import Config
from cpa.errors import ErrorInfo, UpstreamError
from cpa.formats.claude.native import settled
from cpa.formats.codec import Operation
from cpa.plugins import (
    Account,
    HttpClient,
    Login,
    NativeFiles,
    NewLogin,
    Provider,
    QuotaWindow,
    UpstreamRequest,
    classify,
    file_account,
    hookimpl,
    provider_of,
    retry_after_of,
    server_time,
)
from cpa.plugins.entries import USER_AGENT, base_headers, custom_headers, forwarded, key_accounts
from cpa.plugins.oauth import base_url_of, base_url_setting, endpoints_of, fetch_json
from cpa_claude import betas, oauth, quota
from cpa_claude.login import OFFER, log_in
from cpa_claude.native import SOURCE, take
from cpa_claude.oauth import ClaudeEndpoints

BASE_URL = "https://api.anthropic.com"
VERSION = "2023-06-01"
_FORWARDED = (
    "Anthropic-Dangerous-Direct-Browser-Access",
    "X-App",
    "X-Claude-Code-Session-Id",
    *(
        f"X-Stainless-{name}"
        for name in ["Retry-Count", "Runtime", "Lang", "Timeout", "Runtime-Version", "Package-Version", "Os", "Arch"]
    ),
)
REQUEST_ID = "X-Client-Request-Id"
"""Forwarded to the vendor only."""
_LOGIN_MARK = "sk-ant-oat"
PROFILE_SECONDS = 10.0
_REVOKED_SECONDS = 1800.0
SPREAD = (1.0, 30.0)
"""Seconds that are added to a window's end, at random: not everybody comes back at the same moment."""


class ClaudeProvider(Provider):
    """https://docs.anthropic.com/en/api/messages"""

    name = "claude"
    format = "claude"
    default_base_url = BASE_URL
    model_type = "claude"
    owned_by = "anthropic"
    credential_hosts = frozenset({"api.anthropic.com"})
    refresh_lead = 4 * 3600.0
    login_offer = OFFER
    native = SOURCE

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self.endpoints = ClaudeEndpoints()
        self.base_url = BASE_URL

    def accounts_from_config(self, config: Config) -> Iterable[Account]:
        """One account for each key."""
        return key_accounts(
            config.claude_api_key, provider="claude", section="claude-api-key", default_base_url=BASE_URL
        )

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> Iterable[Account] | None:
        """The account of a login; None for other files and for one without tokens."""
        token = data.get("access_token")
        if provider_of(data) != "claude" or not (token or data.get("refresh_token")):
            return None
        secret = token if isinstance(token, str) else ""
        plan = data.get("subscription_type")
        settings = {"plan_type": plan} if isinstance(plan, str) and plan else {}
        base_url = base_url_of(data, self.base_url)
        return [file_account(path, data, secret=secret, base_url=base_url, settings=settings)]

    def supports(self, operation: Operation, account: Account) -> bool:
        """It counts tokens."""
        return operation in ("generate", "count")

    def prepare(self, request: UpstreamRequest) -> None:
        """URL, key and headers. What the client says of itself is forwarded; nothing is invented."""
        account, client = request.account, request.client_headers
        path = "/v1/messages/count_tokens" if request.operation == "count" else "/v1/messages"
        request.url = f"{account.base_url}{path}?beta=true"
        headers = {
            **base_headers(request.stream),
            **forwarded(client, _FORWARDED),
            "anthropic-version": client.get("Anthropic-Version") or VERSION,
        }
        defaults = request.config.claude_header_defaults
        agent = client.get("User-Agent", "")
        if agent.startswith("claude-cli"):
            headers["User-Agent"] = agent
        elif defaults.user_agent:
            headers["User-Agent"] = defaults.user_agent
        if flags := self._beta_flags(request):
            headers["anthropic-beta"] = flags
        if account.base_url == BASE_URL:
            headers |= forwarded(client, [REQUEST_ID])
        if account.base_url == BASE_URL and _LOGIN_MARK not in account.secret:
            headers["x-api-key"] = account.secret
        else:
            headers["Authorization"] = f"Bearer {account.secret}"
        request.headers = {**headers, **custom_headers(account, client)}
        if request.stream:
            request.headers["Accept-Encoding"] = "identity"

    def _beta_flags(self, request: UpstreamRequest) -> str:
        """The client's flags, those its body names, and what the login and the body need."""
        account = request.account
        if request.edited:
            request.body, named = settled(request.body)
            request.headers["anthropic-beta"] = betas.merged(request.headers.get("anthropic-beta", ""), named)
        login = account.kind == "oauth" or _LOGIN_MARK in account.secret
        known = betas.merged(
            request.client_headers.get("Anthropic-Beta", ""),
            request.headers.get("anthropic-beta", ""),
            betas.OAUTH if login else "",
        )
        return betas.merged(known, betas.needed(request.body, known))

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        """429 says in its headers which window is used up, and until when."""
        if status == 429:
            return self._rate_limited(headers, body, error)
        if status == 403 and b"oauth token" in body.lower() and b"revoked" in body.lower():
            return UpstreamError(error, scope="account", cooldown=_REVOKED_SECONDS, reason="unauthorized")
        return classify(status, headers, body, error)

    def _rate_limited(self, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        if b"fast mode" in body.lower() and b"credit" in body.lower():
            return UpstreamError(error, scope="request", retryable=False, cooldown=0)
        now = server_time(headers)
        error.retry_after = error.retry_after or retry_after_of(headers) or quota.key_reset(headers, now)
        judged = classify(429, headers, body, error)
        until, whole_account = quota.rejected_until(headers, now)
        if until is not None:
            judged.error.retry_after = max(until + self._uniform(*SPREAD), judged.error.retry_after or 0.0)
            judged.cooldown = judged.error.retry_after
        judged.scope = "account" if whole_account else "model"
        return judged

    def take_native(self, files: NativeFiles) -> NewLogin:
        """The login of its own program."""
        return take(files)

    async def identify(self, data: Mapping[str, Any], http: HttpClient) -> Mapping[str, str]:
        """The profile of the login."""
        account = file_account(os.devnull, dict(data), secret=str(data["access_token"]))
        headers = {
            "Authorization": f"Bearer {account.secret}",
            "anthropic-beta": betas.OAUTH,
            "User-Agent": USER_AGENT,
        }
        profile = await fetch_json(
            http, "GET", self.endpoints.profile_url, account=account, headers=headers, timeout=PROFILE_SECONDS
        )
        return oauth.identity_of(profile)

    async def login(self, login: Login) -> NewLogin:
        """Log somebody in."""
        return await log_in(self.endpoints, login)

    async def refresh(self, account: Account, http: HttpClient) -> dict[str, Any] | None:
        """New tokens; Claude gives a new refresh token each time."""
        token = str(account.metadata.get("refresh_token") or "")
        return await oauth.refresh(self.endpoints, http, refresh_token=token, account=account)

    def read_quota(self, account: Account, headers: Mapping[str, str], now: float) -> list[QuotaWindow] | None:
        """The windows of a subscription, the rate limits of a key."""
        return quota.from_headers(headers, now) or None

    async def query_quota(self, account: Account, http: HttpClient) -> list[QuotaWindow] | None:
        """The windows of a subscription; keys have no endpoint for theirs."""
        if account.kind != "oauth":
            return None
        headers = {
            "Authorization": f"Bearer {account.secret}",
            "anthropic-beta": betas.OAUTH,
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
        }
        answer = await fetch_json(http, "GET", self.endpoints.usage_url, account=account, headers=headers)
        return quota.from_usage(answer, time.time())


class ClaudePlugin:
    """The plugin."""

    def __init__(self) -> None:
        self._provider = ClaudeProvider()

    @hookimpl
    def cpa_configure(self, settings: Mapping[str, Any]) -> None:
        """Take ``base-url`` and ``oauth``. Raises ValueError for what cannot be used."""
        base_url, endpoints = base_url_setting(settings, BASE_URL), endpoints_of(ClaudeEndpoints, settings)
        self._provider.base_url, self._provider.endpoints = base_url, endpoints

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """The provider."""
        return [self._provider]


def create_plugin() -> ClaudePlugin:
    """The plugin object."""
    return ClaudePlugin()
