"""Names of the conventions for generative AI, and the values cpa gives them."""

from __future__ import annotations

from typing import TypeAlias

from cpa.plugins import ExchangeRecord, UsageRecord

Value: TypeAlias = str | bool | int | float | list[str]

PROVIDERS = {
    "claude": "anthropic",
    "codex": "openai",
    "gemini": "gcp.gemini",
    "gemini-cli": "gcp.gen_ai",
    "kimi": "moonshot_ai",
    "vertex": "gcp.vertex_ai",
}
"""Provider of cpa -> well-known name; others keep their own."""

_OPERATIONS = {"count": "count_tokens", "images": "image_generation", "compact": "compact"}
_GENERATE_CONTENT = ("gemini", "gemini-cli")
_PARAMETERS = {
    "gen_ai.request.max_tokens": ("max_output_tokens", "max_completion_tokens", "max_tokens", "maxOutputTokens"),
    "gen_ai.request.temperature": ("temperature",),
    "gen_ai.request.top_p": ("top_p", "topP"),
    "gen_ai.request.top_k": ("top_k", "topK"),
    "gen_ai.request.seed": ("seed",),
    "gen_ai.request.choice.count": ("n", "candidateCount"),
    "gen_ai.request.frequency_penalty": ("frequency_penalty", "frequencyPenalty"),
    "gen_ai.request.presence_penalty": ("presence_penalty", "presencePenalty"),
}
"""Attribute -> where the formats have it: in the body, or in Gemini's ``generationConfig``."""


def operation_of(operation: str, format_name: str) -> str:
    """``chat``, ``generate_content`` ..."""
    return _OPERATIONS.get(operation) or ("generate_content" if format_name in _GENERATE_CONTENT else "chat")


def provider_of(provider: str) -> str:
    """The well-known name of a provider."""
    return PROVIDERS.get(provider, provider)


def error_type(status: int, error: str | None) -> str | None:
    """``error.type`` of what failed, None for what did not."""
    if error is not None:
        return error
    return str(status) if status >= 400 or status == 0 else None


def attempt_attributes(record: UsageRecord) -> dict[str, Value]:
    """What the span of an attempt says."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": operation_of(record.operation, record.upstream_format),
        "gen_ai.provider.name": provider_of(record.provider),
        "gen_ai.request.model": record.model,
        "gen_ai.request.stream": record.stream,
        "http.response.status_code": record.status,
        "cpa.attempt": record.attempt,
        "cpa.account": record.account_index,
        **_usage_attributes(record),
    }
    if record.time_to_first_token is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = record.time_to_first_token
    if (kind := error_type(record.status, record.error)) is not None:
        attributes["error.type"] = kind
    return attributes


def exchange_attributes(record: ExchangeRecord) -> dict[str, Value]:
    """What the span of a request says."""
    attributes: dict[str, Value] = {
        "gen_ai.operation.name": operation_of(record.operation, record.format),
        "gen_ai.request.model": record.requested_model,
        "gen_ai.request.stream": record.stream,
        "http.request.method": "POST",
        "url.path": record.path,
        "http.response.status_code": record.status,
        "cpa.request_id": record.request_id,
        "cpa.dialect": record.format,
        "cpa.attempts": len(record.attempts),
        "cpa.overhead": record.overhead,
        **_request_parameters(record),
    }
    if record.client_id:
        attributes["cpa.client"] = record.client_id
    if record.attempts:
        last = record.attempts[-1]
        attributes["gen_ai.provider.name"] = provider_of(last.provider)
        attributes["gen_ai.response.model"] = last.model
        attributes |= _usage_attributes(last)
    if record.time_to_first_token is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = record.time_to_first_token
    if (kind := error_type(record.status, record.error)) is not None:
        attributes["error.type"] = kind
    return attributes


def _usage_attributes(record: UsageRecord) -> dict[str, Value]:
    usage = record.usage
    if usage is None:
        return {}
    counts = {
        "gen_ai.usage.input_tokens": usage.input_total,
        "gen_ai.usage.output_tokens": usage.output_total,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning,
    }
    return {name: count for name, count in counts.items() if count is not None}


def _request_parameters(record: ExchangeRecord) -> dict[str, Value]:
    settings = record.body.get("generationConfig")
    places = [record.body, settings] if isinstance(settings, dict) else [record.body]
    found: dict[str, Value] = {}
    for attribute, members in _PARAMETERS.items():
        for value in (place.get(member) for place in places for member in members):
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63:
                found[attribute] = value
                break
    return found
