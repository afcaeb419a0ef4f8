"""``plugins.configs.otel``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field


class Settings(Struct, frozen=True):
    """What the user says. What is left out follows the ``OTEL_*`` variables of the environment."""

    endpoint: str = ""
    """Base URL of an OTLP receiver over HTTP, e.g. ``http://localhost:4318``."""
    headers: dict[str, str] = field(default_factory=dict)
    service_name: str = "cpa"
    traces: bool = True
    metrics: bool = True
    capture_content: bool = False
    """Whether spans carry what was said."""


_KINDS: dict[str, tuple[type, str]] = {
    "endpoint": (str, "a URL such as http://localhost:4318"),
    "service-name": (str, "a name"),
    "traces": (bool, "true or false"),
    "metrics": (bool, "true or false"),
    "capture-content": (bool, "true or false"),
}


def read_settings(given: Mapping[str, Any]) -> Settings:
    """The settings in a mapping of the configuration. Raises ValueError in words for the user."""
    values: dict[str, Any] = {}
    for name, (kind, expected) in _KINDS.items():
        value = given.get(name)
        if value is None:
            continue
        if not isinstance(value, kind):
            raise ValueError(f"{name}: expected {expected}")
        values[name.replace("-", "_")] = value
    headers = given.get("headers") or {}
    if not isinstance(headers, dict) or not all(isinstance(value, str | int) for value in headers.values()):
        raise ValueError("headers: expected names with texts")
    endpoint = values.get("endpoint", "").rstrip("/")
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"endpoint: expected {_KINDS['endpoint'][1]}")
    values["endpoint"] = endpoint
    return Settings(headers={str(name): str(value) for name, value in headers.items()}, **values)
