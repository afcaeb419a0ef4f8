"""Durations as texts: ``90m``, ``1h2m3.5s``, ``373.8ms``; as Go writes and reads them, and with days (``7d``)."""

from __future__ import annotations

import re
from functools import lru_cache

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
NUMBER = r"(?:\d{1,12}(?:\.\d{1,12})?|\.\d{1,12})"
_PIECE = re.compile(rf"({NUMBER})(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_WHOLE = re.compile(rf"0|(?:{_PIECE.pattern})++", re.ASCII)


@lru_cache(maxsize=64)
def seconds_of(text: str) -> float | None:
    """Seconds; None when it is no duration, as a number without a unit is none (but 0)."""
    text = text.strip()
    if not _WHOLE.fullmatch(text):
        return None
    return sum(float(number) * UNITS[unit] for number, unit in _PIECE.findall(text))
