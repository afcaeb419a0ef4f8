"""What a model can do, as far as translating a request needs to know."""

from __future__ import annotations

from msgspec import Struct, field

LEVELS = ("minimal", "low", "medium", "high", "xhigh", "max")
"""Reasoning effort levels, weakest first."""


class ThinkingSupport(Struct, frozen=True):
    """How the reasoning effort of a model is set.

    With ``levels`` only: by name. With ``min``/``max`` only: by a token budget. With both: either way.
    """

    min: int = 0
    max: int = 0
    levels: tuple[str, ...] = ()
    zero_allowed: bool = False
    """Thinking can be switched off."""
    dynamic_allowed: bool = False
    """The model can choose the amount itself (budget -1)."""
    assumed: bool = False
    """Nobody said what the model takes: other formats are brought to these levels, its own is believed."""

    @property
    def has_budget(self) -> bool:
        return self.max > 0


class ModelLimits(Struct, frozen=True):
    """Limits and abilities of one upstream model."""

    known: bool = False
    """Whether the catalogue knows the model; a user-defined one is never validated against."""
    thinking: ThinkingSupport | None = None
    """None on a known model: it cannot think. None on an unknown one: nobody knows."""
    context_length: int | None = None
    max_output_tokens: int | None = None
    input_modalities: tuple[str, ...] = field(default=())
    output_modalities: tuple[str, ...] = field(default=())
