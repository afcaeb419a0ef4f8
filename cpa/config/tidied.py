"""Types of settings whose values are tidied while they are read: blanks, slashes, numbers below their least."""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import Meta

from cpa.config.section import Before


def _not_negative(value: Any) -> Any:
    return 0 if isinstance(value, int | float) and value < 0 else value


def _trimmed(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _slashless(value: Any) -> Any:
    return value.strip().rstrip("/") if isinstance(value, str) else value


def _prefix(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    clean = value.strip().strip("/")
    return "" if "/" in clean else clean


def _headers(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    pairs = ((str(name).strip(), str(text).strip()) for name, text in value.items() if text is not None)
    return {name: text for name, text in pairs if name and text}


def _patterns(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        return value
    return tuple(dict.fromkeys(item.strip().lower() for item in value if isinstance(item, str) and item.strip()))


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_NUMBER = re.compile(r"\d{1,12}(?:\.\d+)?", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str) -> float | None:
    """Seconds in a duration such as ``1h30m``, or in a number of seconds; None when it is none."""
    clean = text.strip()
    if _NUMBER.fullmatch(clean):
        return float(clean)
    found = _DURATION.findall(clean)
    if not found or "".join(number + unit for number, unit in found) != clean:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in found)


Natural = Annotated[int, Before(_not_negative)]
Trimmed = Annotated[str, Before(_trimmed)]
Url = Annotated[str, Before(_slashless)]
Prefix = Annotated[str, Before(_prefix)]
Headers = Annotated[dict[str, str], Before(_headers)]
Patterns = Annotated[tuple[str, ...], Before(_patterns)]
Amount = Annotated[float, Meta(ge=0)]
