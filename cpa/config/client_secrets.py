"""OAuth client secrets among the settings of plugins: what must not be shown or logged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NAMES = frozenset({"client-secret", "client_secret"})
HIDDEN = "***"


def client_secrets(settings: Any) -> Iterator[str]:
    """Every client secret in settings, however deep."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name in NAMES and isinstance(value, str) and value:
                yield value
            else:
                yield from client_secrets(value)
    elif isinstance(settings, list | tuple):
        for item in settings:
            yield from client_secrets(item)


def without_client_secrets(settings: Any) -> Any:
    """The settings with every client secret hidden; a copy."""
    if isinstance(settings, dict):
        return {
            name: HIDDEN if name in NAMES and value else without_client_secrets(value)
            for name, value in settings.items()
        }
    if isinstance(settings, list | tuple):
        return [without_client_secrets(item) for item in settings]
    return settings
