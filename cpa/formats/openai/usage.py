"""Token counts of Chat Completions, both ways."""

from __future__ import annotations

from typing import Any

from cpa.conversation.numbers import natural
from cpa.conversation.usage import Usage, tier


def decode_usage(raw: Any, service_tier: Any = None) -> Usage | None:
    """The canonical usage of a ``usage`` object in any provider's spelling; None when there are no counts.

    ``service_tier`` is the member of that name beside it.
    """
    if not isinstance(raw, dict):
        return None
    prompt = _details(raw, "prompt_tokens_details", "input_tokens_details")
    completion = _details(raw, "completion_tokens_details", "output_tokens_details")
    input_total = _count(raw, "prompt_tokens", "input_tokens")
    output_total = _count(raw, "completion_tokens", "output_tokens")
    if input_total is None and output_total is None:
        return None
    reasoning = _count(completion, "reasoning_tokens") if completion else None
    total = _count(raw, "total_tokens")
    if reasoning and total == (input_total or 0) + (output_total or 0) + reasoning:
        output_total = (output_total or 0) + reasoning
    cache_read = _count(prompt, "cached_tokens") if prompt else None
    if cache_read is None:
        cache_read = _count(raw, "prompt_cache_hit_tokens", "cached_tokens")
    usage = Usage(
        input_total=input_total,
        cache_read=cache_read,
        output_total=output_total,
        reasoning=reasoning,
        total=total,
        service_tier=tier(service_tier),
        raw=raw,
    )
    if prompt:
        usage.cache_write = _count(prompt, "cache_write_tokens", "cached_creation_tokens", "cache_creation_tokens")
        usage.audio_input = _count(prompt, "audio_tokens")
    if completion:
        usage.audio_output = _count(completion, "audio_tokens")
        usage.accepted_prediction = _count(completion, "accepted_prediction_tokens")
        usage.rejected_prediction = _count(completion, "rejected_prediction_tokens")
    return usage


def encode_usage(usage: Usage) -> dict[str, Any]:
    """The ``usage`` object for a client."""
    prompt: dict[str, Any] = {"cached_tokens": usage.cache_read or 0}
    if usage.cache_write:
        prompt["cached_creation_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.input_total or 0,
        "completion_tokens": usage.output_total or 0,
        "total_tokens": usage.sum(),
        "prompt_tokens_details": prompt,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
    }


def _details(raw: dict[str, Any], name: str, other: str) -> dict[str, Any]:
    found = raw.get(name)
    if type(found) is dict:
        return found
    found = raw.get(other)
    return found if type(found) is dict else {}


def _count(raw: dict[str, Any], *names: str) -> int | None:
    for name in names:
        value = raw.get(name)
        if value is not None and (count := natural(value)) is not None:
            return count
    return None
