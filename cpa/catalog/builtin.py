"""The catalogue that ships with cpa: which models each vendor's channel offers, with their limits."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources

import msgspec

from cpa.catalog.model import Model


@lru_cache(maxsize=1)
def _channels() -> dict[str, msgspec.Raw]:
    """Channel -> its models, as they stand in the file: most channels are never asked for."""
    content = resources.files("cpa.catalog").joinpath("data/models.json").read_bytes()
    return msgspec.json.decode(content, type=dict[str, msgspec.Raw])


@lru_cache(maxsize=64)
def builtin_models(channel: str) -> tuple[Model, ...]:
    """Models of a channel, e.g. ``claude``, ``gemini``, ``vertex``, ``codex-pro``; none for an unknown channel.

    Retired ones (``Model.retired``) are known by their limits but offered only when a configuration names them.
    """
    return msgspec.json.decode(_channels().get(channel, b"[]"), type=tuple[Model, ...])
