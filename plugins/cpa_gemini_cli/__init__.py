"""Gemini CLI logins: Google accounts that reach Gemini through Cloud Code Assist (auth files of type ``gemini``)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from msgspec.structs import replace

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
    classify,
    file_account,
    hookimpl,
    project_accounts,
    provider_of,
    split_projects,
)
from cpa.plugins.entries import USER_AGENT, base_headers, custom_headers
from cpa.plugins.oauth import base_url_of, base_url_setting, fetch_json
from cpa.plugins.provider import BuiltinModels
from cpa_gemini_cli import oauth, quota
from cpa_gemini_cli.login import OFFER, log_in
from cpa_gemini_cli.native import SOURCE, take
from cpa_gemini_cli.oauth import GeminiCliEndpoints, gemini_cli_endpoints, token_of
from cpa_gemini_cli.projects import discover_project

BASE_URL = "https://cloudcode-pa.googleapis.com"
PREVIEW_MODELS = {
    "gemini-2.5-pro": ("gemini-3.1-pro-preview", "gemini-3-pro-preview"),
    "gemini-2.5-flash": ("gemini-3-flash-preview",),
}
"""What ``quota-exceeded.switch-preview-model`` asks instead, unless the settings' ``preview-models`` says otherwise."""
SHORTEST_WAIT = 1.0
"""Seconds; hints of less are worth no other request."""


class GeminiCliProvider(Provider):
    """The backend of Gemini CLI: Gemini's own bodies in an envelope with model and project."""

    name = "gemini-cli"
    format = "gemini-cli"
    default_base_url = BASE_URL
    model_type = "gemini"
    owned_by = "google"
    login_offer = OFFER
    native = SOURCE
    credential_hosts = frozenset(
        {
            "cloudcode-pa.googleapis.com",
            "daily-cloudcode-pa.googleapis.com",
            "daily-cloudcode-pa.sandbox.googleapis.com",
        }
    )

    def __init__(self) -> None:
        self.endpoints = GeminiCliEndpoints()
        self.base_url = BASE_URL
        self.stand_ins: Mapping[str, tuple[str, ...]] = {}
        """Names to ask for instead of a model whose quota is used up."""
        self._standing_in: dict[tuple[str, str], tuple[Model, Model]] = {}

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> Iterable[Account] | None:
        """One account for each project of a login; None for other files and for one without tokens."""
        if provider_of(data) != "gemini-cli":
            return None
        token = token_of(data)
        if not (token.get("access_token") or token.get("refresh_token")):
            return None
        projects = split_projects(data.get("project_id"))
        primary = file_account(
            path,
            data,
            secret=str(token.get("access_token") or ""),
            base_url=base_url_of(data, self.base_url),
            settings={**({"project": projects[0]} if projects else {}), **_plan(data.get("tier_id"))},
        )
        return project_accounts(primary, projects)

    def models(self, account: Account, builtin: BuiltinModels) -> Iterable[Model]:
        """The catalogue's, with previews standing in for models where that is wanted."""
        for model in super().models(account, builtin):
            yield model
            for name in self.stand_ins.get(model.upstream or model.id, ()):
                yield self._stand_in(model, name)

    def _stand_in(self, model: Model, name: str) -> Model:
        """The same object for the same model, which thousands of accounts then share."""
        source, stand_in = self._standing_in.get((model.id, name), (None, model))
        if source is not model:
            stand_in = replace(model, upstream=name, stand_in=True)
            self._standing_in[model.id, name] = (model, stand_in)
        return stand_in

    def supports(self, operation: Operation, account: Account) -> bool:
        """It counts tokens."""
        return operation in ("generate", "count")

    def prepare(self, request: UpstreamRequest) -> None:
        """URL, token, headers, and whose project pays."""
        account = request.account
        method = "generateContent"
        if request.operation == "count":
            method = "countTokens"
        elif request.stream:
            method = "streamGenerateContent?alt=sse"
        request.url = f"{account.base_url}/v1internal:{method}"
        if request.operation != "count":
            envelope = {"model": request.model}
            if project := account.settings.get("project"):
                envelope["project"] = str(project)
            request.body = {**request.body, **envelope}
        request.headers = {
            **base_headers(request.stream),
            "Authorization": f"Bearer {account.secret}",
            **custom_headers(account, request.client_headers),
        }

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
        """The common table; Google says how long a limit lasts, at times in fractions of a second."""
        judged = classify(status, headers, body, error)
        if judged.reason == "quota" and judged.cooldown is not None:
            judged.cooldown = error.retry_after = max(judged.cooldown, SHORTEST_WAIT)
        return judged

    def refresh_at(self, account: Account) -> float | None:
        """Only when it is used; at once for a login whose project must be found first."""
        if not split_projects(account.metadata.get("project_id")) and token_of(account.metadata).get("refresh_token"):
            return 0.0
        return super().refresh_at(account)

    def take_native(self, files: NativeFiles) -> NewLogin:
        """The login of its own program."""
        return take(self.endpoints, files)

    async def login(self, login: Login) -> NewLogin:
        """Log somebody in, and have their projects set up."""
        return await log_in(self.endpoints, login)

    def login_identity(self, data: Mapping[str, Any]) -> Mapping[str, str]:
        """An address and its project, or its several ones: each has a login of its own."""
        projects = split_projects(data.get("project_id"))
        email = data.get("email")
        return {
            "email": email if isinstance(email, str) else "",
            "project": projects[0] if len(projects) == 1 else "all" if projects else "",
        }

    async def refresh(self, account: Account, http: HttpClient) -> dict[str, Any] | None:
        """A new access token for all projects of the login, and the project where the file has none."""
        changes = await oauth.refresh(self.endpoints, http, data=account.metadata, account=account)
        if not split_projects(account.metadata.get("project_id")):
            token = str(changes["token"]["access_token"])
            changes["project_id"] = await discover_project(http, account.base_url, token, account)
        return changes

    async def query_quota(self, account: Account, http: HttpClient) -> list[QuotaWindow] | None:
        """What is left of the day's requests, model by model."""
        project = account.settings.get("project")
        if not project:
            return None
        headers = {
            "Authorization": f"Bearer {account.secret}",
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
        }
        url, body = f"{account.base_url}/v1internal:retrieveUserQuota", orjson.dumps({"project": project})
        answer = await fetch_json(http, "POST", url, account=account, headers=headers, body=body)
        return quota.from_buckets(answer, time.time())


def preview_models(given: Any) -> dict[str, tuple[str, ...]]:
    """Model names and the names to ask instead, as the settings write them. Raises ValueError for anything else."""
    if not isinstance(given, Mapping):
        raise ValueError("preview-models must map a model's name to a list of names")
    found = {}
    for name, others in given.items():
        names = (others,) if isinstance(others, str) else others
        if not isinstance(names, list | tuple) or not all(isinstance(other, str) for other in names):
            raise ValueError(f"preview-models: {name} needs a list of names")
        found[str(name)] = tuple(names)
    return found


class GeminiCliPlugin:
    """The plugin."""

    def __init__(self) -> None:
        self._provider = GeminiCliProvider()

    @hookimpl
    def cpa_configure(self, config: Config, settings: Mapping[str, Any]) -> None:
        """Take ``base-url``, ``oauth`` and ``preview-models``. Raises ValueError for what cannot be used."""
        base_url, endpoints = base_url_setting(settings, BASE_URL), gemini_cli_endpoints(settings)
        previews = preview_models(settings.get("preview-models", PREVIEW_MODELS))
        self._provider.base_url, self._provider.endpoints = base_url, endpoints
        self._provider.stand_ins = previews if config.quota_exceeded.switch_preview_model else {}

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """The provider."""
        return [self._provider]


def create_plugin() -> GeminiCliPlugin:
    """The plugin object."""
    return GeminiCliPlugin()


def _plan(tier: Any) -> dict[str, str]:
    """The setting that names the subscription: ``free`` for ``free-tier``."""
    return {"plan_type": tier.removesuffix("-tier")} if isinstance(tier, str) and tier else {}
