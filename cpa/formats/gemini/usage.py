"""Token counts in Gemini's ``usageMetadata``.

``totalTokenCount = prompt + candidates + thoughts + toolUsePrompt``; cached tokens are a part of the prompt.
"""

from __future__ import annotations

from typing import Any

from cpa.conversation.numbers import natural
from cpa.conversation.usage import Usage, tier
from cpa.formats.gemini.fields import Object


def counts_of(response: Object) -> Any:
    """``usageMetadata``; some gateways spell it in the other way."""
    return response.get("usageMetadata") or response.get("usage_metadata")


def decode_usage(value: Any) -> Usage | None:
    """Canonical counts; None when there is no usage object. Absent counts stay unknown."""
    if not isinstance(value, dict) or not value:
        return None
    get = value.get
    prompt, tool_prompt = natural(get("promptTokenCount")), natural(get("toolUsePromptTokenCount"))
    candidates, thoughts = natural(get("candidatesTokenCount")), natural(get("thoughtsTokenCount"))
    total = natural(get("totalTokenCount"))
    if candidates is None:
        candidates = natural(get("responseTokenCount"))
    input_total = None if prompt is None and tool_prompt is None else (prompt or 0) + (tool_prompt or 0)
    output_total = None if candidates is None and thoughts is None else (candidates or 0) + (thoughts or 0)
    if output_total is None and total is not None and input_total is not None:
        output_total = max(0, total - input_total)
    return Usage(
        input_total=input_total,
        cache_read=natural(get("cachedContentTokenCount")),
        tool_prompt=tool_prompt,
        output_total=output_total,
        reasoning=thoughts,
        audio_input=_modality(get("promptTokensDetails"), "AUDIO"),
        audio_output=_modality(get("candidatesTokensDetails"), "AUDIO"),
        image_output=_modality(get("candidatesTokensDetails"), "IMAGE"),
        total=total,
        service_tier=tier(get("serviceTier")) or tier(get("trafficType")),
        raw=value,
    )


def encode_usage(usage: Usage) -> Object:
    """``usageMetadata`` for a Gemini client."""
    tool_prompt = usage.tool_prompt or 0
    reasoning = usage.reasoning or 0
    body: Object = {
        "promptTokenCount": max(0, (usage.input_total or 0) - tool_prompt),
        "candidatesTokenCount": max(0, (usage.output_total or 0) - reasoning),
        "totalTokenCount": usage.sum(),
    }
    for name, count in (
        ("cachedContentTokenCount", usage.cache_read),
        ("thoughtsTokenCount", reasoning),
        ("toolUsePromptTokenCount", tool_prompt),
    ):
        if count:
            body[name] = count
    return body


def _modality(details: Any, name: str) -> int | None:
    if not isinstance(details, list):
        return None
    counts = [
        natural(item.get("tokenCount")) for item in details if isinstance(item, dict) and item.get("modality") == name
    ]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
