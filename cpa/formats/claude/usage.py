"""Token counts of Messages, both ways."""

from __future__ import annotations

from typing import Any

from cpa.conversation.numbers import natural
from cpa.conversation.usage import Usage
from cpa.formats.claude.fields import an_object


def decode_usage(raw: Any, known: dict[str, Any] | None = None) -> Usage | None:
    """The canonical usage. ``known`` are the members seen before (message_start): later ones overwrite."""
    if not isinstance(raw, dict):
        return None
    merged = {**(known or {}), **{key: value for key, value in raw.items() if value is not None}}
    fresh, output = _count(merged, "input_tokens"), _count(merged, "output_tokens")
    read, write = _count(merged, "cache_read_input_tokens"), _count(merged, "cache_creation_input_tokens")
    if fresh is None and output is None and read is None:
        return None
    split = an_object(merged.get("cache_creation"))
    total = None if fresh is None and read is None and write is None else (fresh or 0) + (read or 0) + (write or 0)
    details = an_object(merged.get("output_tokens_details"))
    return Usage(
        input_total=total,
        cache_read=read,
        cache_write=write,
        cache_write_5m=_count(split, "ephemeral_5m_input_tokens"),
        cache_write_1h=_count(split, "ephemeral_1h_input_tokens"),
        output_total=output,
        reasoning=_count(details, "thinking_tokens") or _count(details, "reasoning_tokens"),
        web_search_requests=_count(an_object(merged.get("server_tool_use")), "web_search_requests"),
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


def _count(raw: dict[str, Any], name: str) -> int | None:
    return natural(raw.get(name))
