"""Token counts of Messages, both ways."""

from __future__ import annotations

from typing import Any

from cpa.conversation.numbers import natural
from cpa.conversation.usage import Usage, tier
from cpa.formats.claude.fields import a_list, an_object

_FAST = "fast"
"""The speed that costs more than the usual one: a tier of its own, whatever ``service_tier`` says."""


def decode_usage(raw: Any, known: dict[str, Any] | None = None) -> Usage | None:
    """The canonical usage. ``known`` are the members seen before (message_start): later ones overwrite.

    A zero overwrites nothing: some upstreams tell the input at the start only, and zeros at the end.
    """
    if not isinstance(raw, dict):
        return None
    known = known or {}
    merged = {**known, **{key: value for key, value in raw.items() if _tells(value, known.get(key))}}
    fresh, read, write, output = _counts(merged)
    if fresh is None and output is None and read is None:
        return None
    split = an_object(merged.get("cache_creation"))
    write_5m, write_1h = _count(split, "ephemeral_5m_input_tokens"), _count(split, "ephemeral_1h_input_tokens")
    if write_5m or write_1h:
        write = max(write or 0, (write_5m or 0) + (write_1h or 0))
    for apart in a_list(merged.get("iterations")):
        if isinstance(apart, dict) and apart.get("type") == "compaction":
            fresh, read, write, output = map(_plus, (fresh, read, write, output), _counts(apart))
    total = None if fresh is None and read is None and write is None else (fresh or 0) + (read or 0) + (write or 0)
    details = an_object(merged.get("output_tokens_details"))
    return Usage(
        input_total=total,
        cache_read=read,
        cache_write=write,
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
        output_total=output,
        reasoning=_count(details, "thinking_tokens") or _count(details, "reasoning_tokens"),
        web_search_requests=_count(an_object(merged.get("server_tool_use")), "web_search_requests"),
        service_tier=_FAST if merged.get("speed") == _FAST else tier(merged.get("service_tier")),
        raw=merged,
    )


def encode_usage(usage: Usage | None) -> dict[str, Any]:
    """The ``usage`` object for a client."""
    if usage is None:
        return {"input_tokens": 0, "output_tokens": 0}
    encoded: dict[str, Any] = {"input_tokens": usage.fresh_input, "output_tokens": usage.output_total or 0}
    if usage.cache_read:
        encoded["cache_read_input_tokens"] = usage.cache_read
    if usage.cache_write:
        encoded["cache_creation_input_tokens"] = usage.cache_write
    if usage.web_search_requests:
        encoded["server_tool_use"] = {"web_search_requests": usage.web_search_requests}
    return encoded


def _counts(raw: dict[str, Any]) -> tuple[int | None, int | None, int | None, int | None]:
    """Fresh, read and written input, and output, of an answer or of one step towards it.

    The tokens of a ``compaction`` step are in none of the answer's own counts.
    """
    return (
        _count(raw, "input_tokens"),
        _count(raw, "cache_read_input_tokens"),
        _count(raw, "cache_creation_input_tokens"),
        _count(raw, "output_tokens"),
    )


def _tells(value: Any, known: Any) -> bool:
    return value is not None and (value != 0 or not known)


def _plus(one: int | None, other: int | None) -> int | None:
    return one + other if one is not None and other is not None else one if other is None else other


def _count(raw: dict[str, Any], name: str) -> int | None:
    return natural(raw.get(name))
