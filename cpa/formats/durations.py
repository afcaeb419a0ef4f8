"""How long upstreams say to wait: ``1h2m3.5s`` in a member of an error, or in the words of its message."""

from __future__ import annotations

import math
import re
from typing import Any

_SECONDS = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "millisecond": 1e-3,
    "s": 1.0,
    "sec": 1.0,
    "second": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "h": 3600.0,
    "hr": 3600.0,
    "hour": 3600.0,
    "d": 86400.0,
    "day": 86400.0,
}
_NUMBER = r"(?:\d{1,12}(?:\.\d{1,12})?|\.\d{1,12})"
_PIECE = re.compile(rf"({_NUMBER})(ns|us|µs|ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_NUMBER}(?:ns|us|µs|ms|s|m|h))++")
_UNIT = "|".join(sorted((re.escape(unit) for unit in _SECONDS), key=len, reverse=True))
_SPOKEN_PIECE = re.compile(rf"({_NUMBER})\s?({_UNIT})s?(?![a-zµ])", re.IGNORECASE)
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
    if not isinstance(value, str) or not _WHOLE.fullmatch(value.strip()):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _PIECE.findall(value))


def spoken_wait(message: str) -> float | None:
    """Seconds that an error's message says to wait: ``Please try again in 2m3s``, ``retry after 6 seconds`` ...

    Limits are told with times, too (``3 requests in 60s``): only what follows a word for a new try counts.
    """
    found = _SPOKEN.search(message[:_SEARCHED])
    if found is None:
        return None
    return sum(float(number) * _SECONDS[unit.lower()] for number, unit in _SPOKEN_PIECE.findall(found.group(1)))
