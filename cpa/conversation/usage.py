"""Token counts of one answer."""

from __future__ import annotations

from msgspec import Struct

from cpa.conversation.parts import Json


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
        """This usage with every field that ``later`` reports; counts are cumulative, never added."""
        merged = {
            name: new if (new := getattr(later, name)) is not None else getattr(self, name)
            for name in self.__struct_fields__
        }
        return Usage(**merged)
