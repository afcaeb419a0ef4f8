"""Reasoning effort: from what the client asked to what a model accepts.

The decoders record what was asked, never converting it. :func:`resolve` decides, once per attempt, what the target
model is told; the encoders only write it down.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class ResolvedReasoning(Struct, frozen=True):
    """What to write into an upstream body.

    ``keep``: leave the body (or the encoder's default) as it is. ``strip``: the model cannot think, remove every
    reasoning member. ``off``/``auto``/``level``/``budget``: write that. With ``off`` a model that cannot be switched
    off gets ``level`` or ``budget`` as its least effort.
    """

    action: Literal["keep", "strip", "off", "auto", "level", "budget"] = "keep"
    level: str | None = None
    budget: int | None = None
    include_thoughts: bool | None = None
    """The client's explicit wish to see thoughts (or not); None when it had none."""
    summary: str | None = None
    user_defined: bool = False
    """The model is not in the catalogue: write as is, without limits."""


KEEP = ResolvedReasoning()
