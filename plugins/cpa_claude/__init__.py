"""Anthropic API keys: the ``claude-api-key`` section."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from cpa.config import Config
from cpa.errors import ErrorInfo, UpstreamError
from cpa.formats.codec import Operation
from cpa.plugins import Account, Provider, UpstreamRequest, classify, hookimpl
from cpa.plugins.entries import base_headers, custom_headers, forwarded, key_accounts

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
_WINDOWS = {"5h": "five_hour", "7d": "seven_day", "7d_oi": "seven_day_model"}
_OVERLOADED = 529


class ClaudeProvider(Provider):
    """https://docs.anthropic.com/en/api/messages"""

    name = "claude"
    format = "claude"
    default_base_url = BASE_URL
    model_type = "claude"
    owned_by = "anthropic"

    def accounts_from_config(self, config: Config) -> Iterable[Account]:
        """One account for each key."""
        return key_accounts(
            config.claude_api_key, provider="claude", section="claude-api-key", default_base_url=BASE_URL
        )

    def supports(self, operation: Operation, account: Account) -> bool:
        """It counts tokens."""
        return operation in ("generate", "count")

    def prepare(self, request: UpstreamRequest) -> None:
        """URL, key and headers. What the client says of itself is forwarded; nothing is invented."""
        account, client = request.account, request.client_headers
        path = "/v1/messages/count_tokens" if request.operation == "count" else "/v1/messages"
        request.url = f"{account.base_url}{path}?beta=true"
        betas = merged_betas(client.get("Anthropic-Beta", ""), request.headers.get("anthropic-beta", ""))
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
        if betas:
            headers["anthropic-beta"] = betas
        if account.base_url == BASE_URL and "sk-ant-oat" not in account.secret:
            headers["x-api-key"] = account.secret
        else:
            headers["Authorization"] = f"Bearer {account.secret}"
        request.headers = {**headers, **custom_headers(account, client)}
        if request.stream:
            request.headers["Accept-Encoding"] = "identity"

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        """429 says in its headers which window is used up, and until when."""
        if status == 429:
            return self._rate_limited(headers, body, error)
        if status == _OVERLOADED:
            return UpstreamError(error, scope="model", cooldown=error.retry_after or 60.0, reason="transient")
        return classify(status, headers, body, error)

    def _rate_limited(self, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        if b"fast mode" in body.lower() and b"credit" in body.lower():
            return UpstreamError(error, scope="request", retryable=False, cooldown=0)
        judged = classify(429, headers, body, error)
        until, whole_account = rejected_until(headers, time.time())
        if until is not None:
            judged.error.retry_after = max(until, judged.error.retry_after or 0.0)
            judged.cooldown = judged.error.retry_after
        judged.scope = "account" if whole_account else "model"
        return judged

    def read_quota(self, account: Account, headers: Mapping[str, str], now: float) -> dict[str, Any] | None:
        """The unified windows: how much is used and when they start anew."""
        windows: dict[str, Any] = {}
        for short, name in _WINDOWS.items():
            used = headers.get(f"anthropic-ratelimit-unified-{short}-utilization")
            if used is None:
                continue
            try:
                ratio = float(used)
            except ValueError:
                continue
            reset = moment(headers.get(f"anthropic-ratelimit-unified-{short}-reset"))
            windows[name] = {"used_ratio": ratio, "resets_at": reset}
        return windows or None


def merged_betas(*lists: str) -> str:
    """Beta flags of several comma lists, each once, in order."""
    flags = (flag.strip() for text in lists for flag in text.split(","))
    return ",".join(dict.fromkeys(flag for flag in flags if flag))


def rejected_until(headers: Mapping[str, str], now: float) -> tuple[float | None, bool]:
    """Seconds until the last rejected window starts anew, and whether the whole account is out."""
    prefix = "anthropic-ratelimit-unified"
    status = headers.get(f"{prefix}-status")
    windows = {short: headers.get(f"{prefix}-{short}-status") for short in _WINDOWS}
    rejected = [short for short, state in windows.items() if state == "rejected"]
    resets = [moment(headers.get(f"{prefix}-{short}-reset")) for short in rejected]
    if status == "rejected" or (status is None and "allowed" not in windows.values()):
        resets.append(moment(headers.get(f"{prefix}-reset")))
    times = [reset - now for reset in resets if reset is not None and reset > now]
    only_family = rejected == ["7d_oi"]
    whole = (bool(rejected) and not only_family) or (status == "rejected" and not rejected)
    return (max(times) if times else None), whole


def moment(text: str | None) -> float | None:
    """Unix seconds of a number, an RFC 3339 time or an HTTP date."""
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None


class ClaudePlugin:
    """The plugin."""

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """The provider."""
        return [ClaudeProvider()]


def create_plugin() -> ClaudePlugin:
    """The plugin object."""
    return ClaudePlugin()
