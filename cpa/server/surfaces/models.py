"""Model lists in the shape each client expects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from cpa.catalog.model import Model
from cpa.errors import ApiError, ErrorInfo
from cpa.exchange.call import Answer
from cpa.exchange.resolve import unknown_model
from cpa.server.answers import json_answer
from cpa.server.request import Request
from cpa.server.surface import Routes, rest_of
from cpa.server.surfaces.calling import guarded

Object = dict[str, Any]

_GEMINI_METHODS = ("generateContent", "countTokens")
_CLAUDE_CONTEXT = 200_000
_CLAUDE_OUTPUT = 64_000


def openai_item(model: Model) -> Object:
    """One entry of OpenAI's list."""
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


def claude_item(model: Model) -> Object:
    """One entry of Anthropic's list."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.display_name or model.id,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "max_input_tokens": model.context_length or _CLAUDE_CONTEXT,
        "max_tokens": model.max_output_tokens or _CLAUDE_OUTPUT,
    }


def gemini_item(model: Model) -> Object:
    """One entry of Google's list."""
    item: Object = {
        "name": f"models/{model.id}",
        "version": model.version or "001",
        "displayName": model.display_name or model.id,
        "description": model.description or model.display_name or model.id,
        "supportedGenerationMethods": list(model.generation_methods or _GEMINI_METHODS),
    }
    if model.context_length:
        item["inputTokenLimit"] = model.context_length
    if model.max_output_tokens:
        item["outputTokenLimit"] = model.max_output_tokens
    return item


def codex_item(model: Model, rank: int) -> Object:
    """One entry of the list Codex CLI asks for."""
    levels = list(model.thinking.levels) if model.thinking else []
    return {
        "slug": model.id,
        "display_name": model.display_name or model.id,
        "description": model.description,
        "context_window": model.context_length or 272_000,
        "max_context_window": model.context_length or 272_000,
        "default_reasoning_level": "medium" if "medium" in levels else next(iter(levels), None),
        "supported_reasoning_levels": [{"effort": level, "description": level} for level in levels],
        "input_modalities": list(model.input_modalities or ("text", "image")),
        "supports_parallel_tool_calls": True,
        "supports_reasoning_summaries": bool(levels),
        "support_verbosity": False,
        "shell_type": "shell_command",
        "visibility": "hide" if model.image_only else "list",
        "supported_in_api": True,
        "priority": 100 + 100 * rank,
        "prefer_websockets": False,
        "supports_search_tool": False,
        "service_tiers": [],
        "truncation_policy": {"mode": "tokens", "limit": 10_000},
    }


def openai_list(models: list[Model]) -> Object:
    """OpenAI's list."""
    return {"object": "list", "data": [openai_item(model) for model in models]}


def claude_list(models: list[Model]) -> Object:
    """Anthropic's list, always one page."""
    data = [claude_item(model) for model in models]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


def gemini_list(models: list[Model]) -> Object:
    """Google's list."""
    return {"models": [gemini_item(model) for model in models]}


def codex_list(models: list[Model]) -> Object:
    """Codex CLI's list."""
    return {"models": [codex_item(model, rank) for rank, model in enumerate(models)]}


_LISTS: dict[str, Callable[[list[Model]], Object]] = {
    "openai": openai_list,
    "claude": claude_list,
    "gemini": gemini_list,
    "codex": codex_list,
}
_ITEMS: dict[str, Callable[[Model], Object]] = {
    "openai": openai_item,
    "claude": claude_item,
    "gemini": gemini_item,
    "codex": lambda model: codex_item(model, 0),
}


def shape_for(request: Request) -> str:
    """Which list a client of ``/v1/models`` expects."""
    headers = request.headers
    if "client_version" in request.query:
        return "codex"
    if headers.get("X-Goog-Api-Client") or headers.get("X-Goog-Api-Key"):
        return "gemini"
    if headers.get("Anthropic-Version") or headers.get("User-Agent", "").startswith("claude-cli"):
        return "claude"
    return "openai"


async def list_models(request: Request) -> Answer:
    """``GET /v1/models``."""
    return await _answer(request, shape_for(request), None)


async def get_model(request: Request) -> Answer:
    """``GET /v1/models/{id}``."""
    return await _answer(request, shape_for(request), rest_of(request, "/v1/models/"))


async def list_gemini_models(request: Request) -> Answer:
    """``GET /v1beta/models``."""
    return await _answer(request, "gemini", None)


async def get_gemini_model(request: Request) -> Answer:
    """``GET /v1beta/models/{id}``."""
    return await _answer(request, "gemini", rest_of(request, "/v1beta/models/"))


async def _answer(request: Request, shape: str, name: str | None) -> Answer:
    services = request.services
    codec = services.formats["openai" if shape == "codex" else shape]

    async def answer() -> Answer:
        config, door = request.config, request.door
        may_see = door.visible_to(door.admit(request, config), config)
        if name is None:
            return json_answer(_LISTS[shape]([model for model in services.catalog.list_models() if may_see(model.id)]))
        model = services.catalog.get_model(name.removeprefix("models/")) or services.catalog.get_model(name)
        if model is None or not may_see(model.id):
            error = unknown_model(name)
            raise ApiError(ErrorInfo(404, error.message, type=error.type, code=error.code))
        return json_answer(_ITEMS[shape](model))

    return await guarded(request, codec, answer)


def add_routes(routes: Routes) -> None:
    """Mount the routes."""
    routes.add("GET", "/v1/models", list_models)
    routes.add("GET", "/backend-api/codex/models", list_models)
    routes.add("GET", "/v1/models/", get_model, rest="id")
    routes.add("GET", "/v1beta/models", list_gemini_models)
    routes.add("GET", "/v1beta/models/", get_gemini_model, rest="id")
