"""Token counts of one answer."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from cpa.conversation.parts import Json

LONGEST_TIER = 40
"""Characters of a tier's name."""


class Usage(Struct):
    """Tokens of one answer. ``None`` means the upstream did not report it; nothing is invented.

    The parts are subsets: ``cache_read + cache_write <= input_total`` and ``reasoning <= output_total``.
    """

    input_total: int | None = None
    """Every prompt token: fresh, read from cache, written to cache, tool-use prompt."""
    cache_read: int | None = None
    cache_write: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    tool_prompt: int | None = None
    """Gemini ``toolUsePromptTokenCount``; part of ``input_total``."""
    output_total: int | None = None
    """Every generated token, reasoning included."""
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None
    image_output: int | None = None
    accepted_prediction: int | None = None
    rejected_prediction: int | None = None
    total: int | None = None
    """The total the upstream reported; see :meth:`sum`."""
    web_search_requests: int | None = None
    service_tier: str | None = None
    """The tier that served it, in the upstream's words (``default``, ``priority``, ``standard`` ...)."""
    image_tool: ToolUsage | None = None
    """What pictures took that were made on the way to the answer; in none of the other counts."""
    raw: Json | None = None
    """The upstream's own usage object, for an answer in the same format."""

    def sum(self) -> int:
        """Input plus output; what a client of another format is told as total."""
        return (self.input_total or 0) + (self.output_total or 0)

    @property
    def fresh_input(self) -> int:
        """Prompt tokens that were neither read from nor written to a cache."""
        return max(0, (self.input_total or 0) - (self.cache_read or 0) - (self.cache_write or 0))

    def merge(self, later: Usage) -> Usage:
        """This usage with every field that ``later`` reports; counts are cumulative, never added.

        A zero after another number tells nothing: some upstreams fill in what they do not know.
        """
        merged = {}
        for name in self.__struct_fields__:
            old, new = getattr(self, name), getattr(later, name)
            merged[name] = new or (new if old is None else old)
        return Usage(**merged)


class ToolUsage(Struct):
    """Tokens of another model that was used as a tool."""

    model: str
    usage: Usage


def tier(value: Any) -> str | None:
    """A service tier as an upstream wrote it; None for what cannot be one."""
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_TIER and value.isprintable() else None
