"""Token counts of Responses, both ways."""

from __future__ import annotations

from typing import Any

from cpa.conversation.usage import ToolUsage, Usage, tier
from cpa.formats.openai_response.fields import Object, count, object_of, objects, text

IMAGE_MODEL = "gpt-image-2"
"""Makes the pictures where neither request nor answer names another model."""


def read_usage(response: Object, request: Object | None = None) -> Usage | None:
    """What a response tells of its tokens, with those of the image tool; None when it tells nothing.

    ``request`` is the body that was answered: it may name the tool's model where the response does not.
    """
    usage = decode_usage(response.get("usage"))
    tool = _image_tool(response, request or {})
    if usage is None and tool is None:
        return None
    usage = usage or Usage()
    usage.service_tier, usage.image_tool = tier(response.get("service_tier")), tool
    return usage


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


def _image_tool(response: Object, request: Object) -> ToolUsage | None:
    """``tool_usage.image_gen``, which is there with zeros when no picture was made."""
    raw = object_of(object_of(response.get("tool_usage")).get("image_gen"))
    usage = decode_usage(raw) if raw else None
    if usage is None or not usage.sum():
        return None
    usage.cache_read = count(raw, "cached_tokens")
    tools = objects(response.get("tools")) + objects(request.get("tools"))
    models = (text(tool, "model") for tool in tools if tool.get("type") == "image_generation")
    return ToolUsage(next(filter(None, models), IMAGE_MODEL), usage)


def encode_usage(usage: Usage | None, estimate: int | None = None) -> Object:
    """The ``usage`` object for a client; it is never missing, ``estimate`` stands in for unreported input."""
    if usage is None or (usage.input_total is None and usage.output_total is None):
        usage = Usage(input_total=estimate)
    details: Object = {"cached_tokens": usage.cache_read or 0, "cache_write_tokens": usage.cache_write or 0}
    return {
        "input_tokens": usage.input_total or 0,
        "input_tokens_details": details,
        "output_tokens": usage.output_total or 0,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": usage.sum(),
    }
