"""Codex: keys of Responses APIs (``codex-api-key``) and ChatGPT logins (auth files of type ``codex``)."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from cpa.config import Config
from cpa.errors import ErrorInfo, UpstreamError
from cpa.formats.codec import Operation
from cpa.plugins import (
    Account,
    HttpClient,
    Login,
    Model,
    NativeFiles,
    NewLogin,
    Provider,
    QuotaWindow,
    UpstreamRequest,
    file_account,
    hookimpl,
    provider_of,
)
from cpa.plugins.cache_key import cache_key
from cpa.plugins.entries import USER_AGENT, base_headers, custom_headers, forwarded, key_accounts
from cpa.plugins.oauth import base_url_of, base_url_setting, endpoints_of, fetch_json
from cpa.plugins.provider import BuiltinModels
from cpa_codex import faults, oauth, quota
from cpa_codex.login import OFFER, log_in
from cpa_codex.native import SOURCE, take
from cpa_codex.oauth import CodexEndpoints, identity_of

BASE_URL = "https://chatgpt.com/backend-api/codex"
"""Where ChatGPT logins are served; keys name their own."""
ORIGINATOR = "cpa"

IMAGE_TOOL = {"type": "image_generation", "output_format": "png"}
PLAN_CHANNELS = {
    "plus": "codex-plus",
    "team": "codex-team",
    "business": "codex-team",
    "go": "codex-team",
    "free": "codex-free",
}
"""Catalogue sections of plans; any other has the models of ``codex-pro``."""
LITE_HEADER = "X-OpenAI-Internal-Codex-Responses-Lite"
"""Sent by clients that want nothing added to their requests."""
_FORWARDED = (
    "X-Codex-Beta-Features",
    "X-Codex-Turn-Metadata",
    "X-Codex-Window-Id",
    "X-Client-Request-Id",
    "Version",
    "Originator",
    "Thread-Id",
    "User-Agent",
    LITE_HEADER,
)


class CodexProvider(Provider):
    """The Responses API as Codex speaks it: always streamed, nothing stored."""

    name = "codex"
    format = "codex"
    model_type = "openai"
    owned_by = "openai"
    channel = "codex-pro"
    credential_hosts = frozenset({"chatgpt.com"})
    refresh_lead = 5 * 86400.0
    quota_event = b'"codex.rate_limits"'
    login_offer = OFFER
    native = SOURCE

    def __init__(self) -> None:
        self.endpoints = CodexEndpoints()
        self.base_url = BASE_URL
        self.originator = ORIGINATOR

    def accounts_from_config(self, config: Config) -> Iterable[Account]:
        """One account for each key with a base URL."""
        entries = [entry for entry in config.codex_api_key if entry.base_url]
        return key_accounts(entries, provider="codex", section="codex-api-key")

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> Iterable[Account] | None:
        """The account of a login; None for other files and for one without tokens."""
        token = data.get("access_token")
        if provider_of(data) != "codex" or not (token or data.get("refresh_token")):
            return None
        who = identity_of(data.get("id_token"))
        own = data.get("account_id")
        settings = {
            "plan_type": who.plan,
            "account_id": own if isinstance(own, str) and own else who.account_id,
        }
        label = {} if data.get("email") or not who.email else {"label": who.email}
        base_url = base_url_of(data, self.base_url)
        secret = token if isinstance(token, str) else ""
        return [file_account(path, data, secret=secret, base_url=base_url, settings=settings, **label)]

    def channel_of(self, account: Account) -> str:
        """By the plan of the subscription (``settings["plan_type"]``); keys and unknown plans get all models."""
        return PLAN_CHANNELS.get(str(account.settings.get("plan_type") or "").lower(), self.channel)

    def models(self, account: Account, builtin: BuiltinModels) -> Iterable[Model]:
        """What the entry lists, or the plan's models; image models come with every plan but the free one."""
        yield from super().models(account, builtin)
        if not account.models and account.settings.get("plan_type") != "free":
            yield from builtin("codex-builtin")

    def supports(self, operation: Operation, account: Account) -> bool:
        """Tokens are counted locally; free plans make no images."""
        if operation == "images":
            return account.settings.get("plan_type") != "free"
        return operation in ("generate", "compact")

    def upstream_format(self, account: Account, operation: Operation) -> str:
        """Compacting is plain Responses."""
        return "openai-response" if operation == "compact" else "codex"

    def prepare(self, request: UpstreamRequest) -> None:
        """URL, key, headers, the image tool and the prompt cache key."""
        account, client = request.account, request.client_headers
        compact = request.operation == "compact"
        request.url = f"{account.base_url}/responses" + ("/compact" if compact else "")
        if not compact:
            self._fix(request)
        session = request.body.get("prompt_cache_key") or client.get("Session-Id") or client.get("Session_id")
        headers = {**base_headers(not compact), **forwarded(client, _FORWARDED)}
        headers["Authorization"] = f"Bearer {account.secret}"
        if account.kind == "oauth":
            headers |= self._login_headers(request)
            session = session or str(uuid.uuid4())
        if isinstance(session, str) and session:
            headers["Session_id"] = session
        request.headers = {**headers, **custom_headers(account, client)}

    def _login_headers(self, request: UpstreamRequest) -> dict[str, str]:
        """What the ChatGPT backend wants to know beside the token: which account, and which program asks."""
        headers = {"Originator": request.client_headers.get("Originator") or self.originator}
        if account_id := request.account.settings.get("account_id"):
            headers["Chatgpt-Account-Id"] = str(account_id)
        if agent := request.config.codex_header_defaults.user_agent:
            headers["User-Agent"] = agent
        return headers

    def _fix(self, request: UpstreamRequest) -> None:
        """What no operator rule may change."""
        body = {**request.body, "model": request.model, "stream": True, "store": False}
        if request.operation == "generate" and _wants_image_tool(request):
            tools = body.get("tools")
            body["tools"] = [*(tools if isinstance(tools, list) else []), dict(IMAGE_TOOL)]
        if not body.get("tools"):
            body.pop("parallel_tool_calls", None)
        key = cache_key(request)
        if key is not None:
            body["prompt_cache_key"] = key
        request.body = body

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        """Codex's own words for limits, capacity and contexts that are too long."""
        return faults.judge(status, headers, body, error)

    def take_native(self, files: NativeFiles) -> NewLogin:
        """The login of its own program."""
        return take(files)

    async def login(self, login: Login) -> NewLogin:
        """Log somebody in."""
        return await log_in(self.endpoints, login)

    async def refresh(self, account: Account, http: HttpClient) -> dict[str, Any] | None:
        """New tokens; OpenAI gives a new refresh token each time and takes the old one never again."""
        token = str(account.metadata.get("refresh_token") or "")
        return await oauth.refresh(self.endpoints, http, refresh_token=token, account=account)

    def read_quota(self, account: Account, headers: Mapping[str, str], now: float) -> list[QuotaWindow] | None:
        """The windows of the subscription."""
        return (quota.from_headers(headers, now) or None) if account.kind == "oauth" else None

    def read_quota_event(self, account: Account, event: dict[str, Any], now: float) -> list[QuotaWindow] | None:
        """The windows in a ``codex.rate_limits`` event."""
        if account.kind != "oauth" or event.get("type") != "codex.rate_limits":
            return None
        return quota.from_event(event, now) or None

    async def query_quota(self, account: Account, http: HttpClient) -> list[QuotaWindow] | None:
        """The windows of the subscription; keys have no endpoint for theirs."""
        if account.kind != "oauth":
            return None
        headers = {
            "Authorization": f"Bearer {account.secret}",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
        }
        if account_id := account.settings.get("account_id"):
            headers["Chatgpt-Account-Id"] = str(account_id)
        answer = await fetch_json(http, "GET", self.endpoints.usage_url, account=account, headers=headers)
        return quota.from_usage(answer, time.time())


def _wants_image_tool(request: UpstreamRequest) -> bool:
    """Whether the model may make images although the client does not ask for it: its plan, model and tools allow it."""
    account, config = request.account, request.config
    if config.disable_image_generation != "off" or request.model.endswith("spark"):
        return False
    if account.settings.get("plan_type") == "free" or request.client_headers.get(LITE_HEADER):
        return False
    tools = request.body.get("tools")
    return not any(_makes_images(tool) for tool in tools) if isinstance(tools, list) else True


def _makes_images(tool: Any) -> bool:
    """Whether a tool is the image tool, or a client's own under a name of that kind."""
    if not isinstance(tool, dict):
        return False
    return tool.get("type") == IMAGE_TOOL["type"] or str(tool.get("name", "")).startswith("image_gen")


class CodexPlugin:
    """The plugin."""

    def __init__(self) -> None:
        self._provider = CodexProvider()

    @hookimpl
    def cpa_configure(self, settings: Mapping[str, Any]) -> None:
        """Take ``base-url``, ``originator`` and ``oauth``. Raises ValueError for what cannot be used."""
        base_url, endpoints = base_url_setting(settings, BASE_URL), endpoints_of(CodexEndpoints, settings)
        originator = settings.get("originator") or ORIGINATOR
        if not isinstance(originator, str) or not originator.isascii() or not originator.isprintable():
            raise ValueError("originator must be a text that a header can carry")
        self._provider.base_url, self._provider.endpoints, self._provider.originator = base_url, endpoints, originator

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """The provider."""
        return [self._provider]


def create_plugin() -> CodexPlugin:
    """The plugin object."""
    return CodexPlugin()
