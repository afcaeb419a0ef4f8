"""Numbers an upstream reports, which may be anything."""

from __future__ import annotations

import math
from typing import Any

_LARGEST = 1 << 53
"""From here on JSON numbers are not exact in every language."""


def natural(value: Any) -> int | None:
    """A count of tokens or seconds: a number from 0 to 2**53, rounded down; None for anything else."""
    if type(value) is int or type(value) is float:
        return int(value) if 0 <= value < _LARGEST else None
    return None


def finite(value: Any) -> float | None:
    """A number, also one written as text; None for anything else, for what is not a number and for what has no end."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
