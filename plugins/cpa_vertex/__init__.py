"""Vertex AI: API keys (``vertex-api-key``) and service accounts (auth files of type ``vertex``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cpa.config import Config
from cpa.formats.codec import Operation
from cpa.formats.gemini.imagen import predict_request
from cpa.plugins import (
    Account,
    HttpClient,
    Login,
    NewLogin,
    Provider,
    UpstreamRequest,
    file_account,
    hookimpl,
    provider_of,
)
from cpa.plugins.entries import base_headers, custom_headers, in_path, key_accounts
from cpa_vertex.login import OFFER, log_in
from cpa_vertex.service_account import TokenSource, location_host, read_service_account

BASE_URL = "https://aiplatform.googleapis.com"
IMAGEN = "imagen"
"""In the names of models that make pictures of a prompt, and do nothing else."""
QUIRKS = frozenset({"vertex"})


class VertexProvider(Provider):
    """https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference"""

    name = "vertex"
    format = "gemini"
    default_base_url = BASE_URL
    model_type = "gemini"
    owned_by = "google"
    login_offer = OFFER

    def __init__(self) -> None:
        self.tokens = TokenSource()

    def accounts_from_config(self, config: Config) -> Iterable[Account]:
        """One account for each key; models without both names are not offered."""
        entries = config.vertex_api_key
        for account in key_accounts(entries, provider="vertex", section="vertex-api-key", default_base_url=BASE_URL):
            account.models = tuple(model for model in account.models if model.name and model.alias)
            yield account

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> Iterable[Account] | None:
        """One account for a service-account file; None for other files."""
        if provider_of(data) != "vertex":
            return None
        service = read_service_account(data)
        if service is None:
            return None
        label = {} if data.get("email") else {"label": service.client_email}
        return [file_account(path, data, settings={"service_account": service}, **label)]

    def supports(self, operation: Operation, account: Account) -> bool:
        """It counts tokens."""
        return operation in ("generate", "count")

    def quirks(self, account: Account) -> frozenset[str]:
        """Vertex refuses ids on function calls."""
        return QUIRKS

    def prepare(self, request: UpstreamRequest) -> None:
        """URL and headers; the token of a service account is set when the request is sent."""
        account = request.account
        stream, method = request.stream, "generateContent"
        if request.operation == "count":
            method = "countTokens"
        elif IMAGEN in request.model:
            stream, method = False, "predict"
            request.body = predict_request(request.body)
        elif stream:
            method = "streamGenerateContent?alt=sse"
        service = account.settings.get("service_account")
        headers = base_headers(stream)
        if service is None:
            place = f"{account.base_url}/v1/publishers/google"
            headers["x-goog-api-key"] = account.secret
        else:
            host = account.base_url or location_host(service.location)
            place = f"{host}/v1/projects/{service.project}/locations/{service.location}/publishers/google"
        request.url = f"{place}/models/{in_path(request.model)}:{method}"
        request.headers = {**headers, **custom_headers(account, request.client_headers)}

    async def authorize(self, request: UpstreamRequest, http: HttpClient) -> None:
        """Add the service account's access token, made anew a minute before the old one ends."""
        service = request.account.settings.get("service_account")
        if service is not None:
            token = await self.tokens.token(request.account, service, http)
            request.headers["Authorization"] = f"Bearer {token}"

    async def login(self, login: Login) -> NewLogin:
        """Take a service account's key file."""
        return await log_in(login)

    def login_identity(self, data: Mapping[str, Any]) -> Mapping[str, str]:
        """A service account of a project, under one prefix."""
        names = {name: str(data.get(name) or "") for name in ("email", "project_id")}
        return {**names, "prefix": str(data.get("prefix") or "").strip("/") or "-"}


class VertexPlugin:
    """The plugin."""

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """The provider."""
        return [VertexProvider()]


def create_plugin() -> VertexPlugin:
    """The plugin object."""
    return VertexPlugin()
