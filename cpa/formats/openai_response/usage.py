"""Token counts of Responses, both ways."""

from __future__ import annotations

from typing import Any

from cpa.conversation.usage import Usage
from cpa.formats.openai_response.fields import Object, count, object_of


def decode_usage(raw: Any) -> Usage | None:
    """The canonical usage of a ``usage`` object; None when it has no counts."""
    if not isinstance(raw, dict):
        return None
    details = object_of(raw.get("input_tokens_details") or raw.get("prompt_tokens_details"))
    output = object_of(raw.get("output_tokens_details") or raw.get("completion_tokens_details"))
    input_total = count(raw, "input_tokens", "prompt_tokens")
    output_total = count(raw, "output_tokens", "completion_tokens")
    if input_total is None and output_total is None:
        return None
    return Usage(
        input_total=input_total,
        cache_read=count(details, "cached_tokens"),
        cache_write=count(details, "cache_write_tokens", "cache_creation_tokens"),
        output_total=output_total,
        reasoning=count(output, "reasoning_tokens"),
        total=count(raw, "total_tokens"),
        raw=raw,
    )


def encode_usage(usage: Usage | None, estimate: int | None = None) -> Object:
    """The ``usage`` object for a client; it is never missing, ``estimate`` stands in for unreported input."""
    usage = usage or Usage(input_total=estimate)
    details: Object = {"cached_tokens": usage.cache_read or 0, "cache_write_tokens": usage.cache_write or 0}
    return {
        "input_tokens": usage.input_total or 0,
        "input_tokens_details": details,
        "output_tokens": usage.output_total or 0,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.sum(),
    }
