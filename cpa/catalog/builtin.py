"""The catalogue that ships with cpa: which models each vendor's channel offers, with their limits."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Any

import orjson

from cpa.catalog.model import Model
from cpa.conversation.models import ThinkingSupport


@lru_cache(maxsize=1)
def _channels() -> dict[str, list[dict[str, Any]]]:
    data: dict[str, list[dict[str, Any]]] = orjson.loads(
        resources.files("cpa.catalog").joinpath("data/models.json").read_bytes()
    )
    return data


@lru_cache(maxsize=64)
def builtin_models(channel: str) -> tuple[Model, ...]:
    """Models of a channel, e.g. ``claude``, ``gemini``, ``vertex``, ``codex-pro``; none for an unknown channel.

    Retired ones (``Model.retired``) are known by their limits but offered only when a configuration names them.
    """
    return tuple(_model(row) for row in _channels().get(channel, ()))


def _model(row: dict[str, Any]) -> Model:
    thinking = row.get("thinking")
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.items() if key != "thinking"
    }
    if thinking is not None:
        fields["thinking"] = ThinkingSupport(**{**thinking, "levels": tuple(thinking.get("levels", ()))})
    return Model(**fields)
