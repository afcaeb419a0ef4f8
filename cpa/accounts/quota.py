"""How much of an account's allowance is used, in windows."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct

QuotaSource: TypeAlias = Literal["headers", "query", "event"]


class QuotaWindow(Struct, frozen=True, kw_only=True):
    """One allowance that starts anew at a certain time."""

    name: str
    """``five_hour``, ``seven_day``, ``month`` ..., followed by what it is limited to where that is not all."""
    used_ratio: float | None
    """0 unused to 1 used up; None when the vendor does not say."""
    resets_at: float | None
    """Unix seconds; None when unknown."""
    limit_seconds: float | None = None
    """How long the window is; None when unknown."""
    source: QuotaSource
    seen_at: float
    """Unix seconds."""
