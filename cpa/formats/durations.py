"""How long upstreams say to wait: ``1h2m3.5s`` in a member of an error, or in the words of its message."""

from __future__ import annotations

import math
import re
from typing import Any

from cpa.durations import NUMBER, UNITS, seconds_of

_SPOKEN_UNITS = UNITS | {
    "millisecond": 1e-3,
    "sec": 1.0,
    "second": 1.0,
    "min": 60.0,
    "minute": 60.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "day": 86400.0,
}
_UNIT = "|".join(sorted((re.escape(unit) for unit in _SPOKEN_UNITS), key=len, reverse=True))
_SPOKEN_PIECE = re.compile(rf"({NUMBER})\s?({_UNIT})s?(?![a-zµ])", re.IGNORECASE)
_SPOKEN = re.compile(
    r"\b(?:again|retry(?:ing)?|wait|resets?)(?:\s(?:in|after|for|about|another)){0,3}\s"
    rf"({_SPOKEN_PIECE.pattern}(?:(?:,?\s(?:and\s)?)?{_SPOKEN_PIECE.pattern}){{0,3}})",
    re.IGNORECASE,
)
_SEARCHED = 4096
"""Characters of a message in which a wait is looked for."""


def parse_duration(value: Any) -> float | None:
    """Seconds of a duration such as ``1h2m3.5s`` or ``373.8ms``, or of a ``{"seconds", "nanos"}`` object."""
    if isinstance(value, dict):
        try:
            seconds = float(value.get("seconds", 0)) + float(value.get("nanos", 0)) / 1e9
        except (TypeError, ValueError, OverflowError):
            return None
        return seconds if math.isfinite(seconds) else None
    return seconds_of(value) if isinstance(value, str) else None


def spoken_wait(message: str) -> float | None:
    """Seconds that an error's message says to wait: ``Please try again in 2m3s``, ``retry after 6 seconds`` ...

    Limits are told with times, too (``3 requests in 60s``): only what follows a word for a new try counts.
    """
    found = _SPOKEN.search(message[:_SEARCHED])
    if found is None:
        return None
    return sum(float(number) * _SPOKEN_UNITS[unit.lower()] for number, unit in _SPOKEN_PIECE.findall(found.group(1)))
