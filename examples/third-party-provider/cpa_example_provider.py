"""A provider for cpa: any server that speaks Chat Completions, with a header of its own.

plugins:
  configs:
    example:
      url: http://127.0.0.1:9000/v1
      key: your-key
      models: [example-model]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from cpa.plugins import Account, Model, Provider, UpstreamRequest, hookimpl


class ExampleProvider(Provider):
    """Everything that differs from other providers."""

    name = "example"
    format = "openai"
    owned_by = "example"

    def __init__(self) -> None:
        self.url = ""
        self.key = ""
        self.model_names: list[str] = []

    def accounts_from_config(self, config: Any) -> Iterable[Account]:
        """One account, once a URL is configured."""
        if self.url:
            yield Account(id="example", provider="example", label="example", secret=self.key, base_url=self.url)

    def models(self, account: Account, builtin: Any) -> Iterable[Model]:
        """The models named in the settings."""
        return [Model(id=name, owned_by=self.owned_by, user_defined=True) for name in self.model_names]

    def prepare(self, request: UpstreamRequest) -> None:
        """Where the request goes, and with which headers."""
        request.url = f"{request.account.base_url}/chat/completions"
        request.headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {request.account.secret}",
            "X-Example": request.request_id,
        }


class ExamplePlugin:
    """The plugin: its settings and its provider."""

    def __init__(self) -> None:
        self._provider = ExampleProvider()

    @hookimpl
    def cpa_configure(self, settings: Mapping[str, Any]) -> None:
        """Take ``url``, ``key`` and ``models``."""
        models = settings.get("models", [])
        if not isinstance(models, list):
            raise ValueError("models must be a list of names")
        self._provider.url = str(settings.get("url", "")).rstrip("/")
        self._provider.key = str(settings.get("key", ""))
        self._provider.model_names = [str(name) for name in models]

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        """One provider."""
        return [self._provider]


def create_plugin() -> ExamplePlugin:
    """What cpa calls when it finds the entry point."""
    return ExamplePlugin()
