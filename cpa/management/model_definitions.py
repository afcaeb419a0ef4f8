"""``GET /model-definitions/{channel}``: the catalogue that ships with cpa."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from cpa.catalog.builtin import builtin_models
from cpa.catalog.model import Model
from cpa.management.answers import Refusal, answer
from cpa.management.route import Route
from cpa.management.services import Management

CHANNELS = {
    "claude": ("claude",),
    "gemini": ("gemini",),
    "vertex": ("vertex",),
    "gemini-cli": ("gemini-cli",),
    "aistudio": ("aistudio",),
    "codex": ("codex-pro", "codex-builtin"),
    "kimi": ("kimi",),
    "antigravity": ("antigravity",),
}
"""Channel as panels name it -> sections of the catalogue."""
_GEMINI_NAMED = frozenset({"gemini", "vertex", "gemini-cli", "aistudio"})


async def _get(request: web.Request) -> web.Response:
    channel = request.match_info["channel"].strip().lower()
    if not channel:
        raise Refusal(400, "channel is required")
    sections = CHANNELS.get(channel)
    if sections is None:
        raise Refusal(400, "unknown channel", channel=channel)
    models = [model for section in sections for model in builtin_models(section) if not model.retired]
    return answer({"channel": channel, "models": [_shown(model, channel) for model in models]})


def _shown(model: Model, channel: str) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "type": model.type,
    }
    more: dict[str, Any] = {
        "display_name": model.display_name,
        "version": model.version,
        "description": model.description,
        "supported_parameters": list(model.supported_parameters),
        "supportedInputModalities": list(model.input_modalities),
        "supportedOutputModalities": list(model.output_modalities),
        "thinking": _thinking(model),
    }
    if channel in _GEMINI_NAMED:
        more |= {
            "name": f"models/{model.id}",
            "inputTokenLimit": model.context_length,
            "outputTokenLimit": model.max_output_tokens,
            "supportedGenerationMethods": list(model.generation_methods),
        }
    else:
        more |= {"context_length": model.context_length, "max_completion_tokens": model.max_output_tokens}
    return shown | {name: value for name, value in more.items() if value}


def _thinking(model: Model) -> dict[str, Any] | None:
    support = model.thinking
    if support is None:
        return None
    members = {
        "min": support.min,
        "max": support.max,
        "zero_allowed": support.zero_allowed,
        "dynamic_allowed": support.dynamic_allowed,
        "levels": list(support.levels),
    }
    return {name: value for name, value in members.items() if value}


def routes(management: Management) -> list[Route]:
    """The one route."""
    shown = {
        "type": "object",
        "properties": {"channel": {"type": "string"}, "models": {"type": "array", "items": {"type": "object"}}},
        "required": ["channel", "models"],
    }
    return [
        Route(
            method="GET",
            path="/model-definitions/{channel}",
            handler=_get,
            summary="Models a channel may offer",
            tag="Models",
            answer=shown,
        )
    ]
