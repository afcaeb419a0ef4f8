"""Types of settings whose values are tidied while they are read: blanks, slashes, numbers below their least."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from cpa.config.section import Before
from cpa.durations import seconds_of


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


class Duration(Before, frozen=True):
    """In an annotation: a text such as ``90m``. What is none counts as ``instead``."""

    instead: str = ""


def duration(instead: str, *, may_be_zero: bool = True) -> Duration:
    """The mark of a duration; one that may not be zero counts as ``instead``, too, when it is."""

    def tidy(value: Any) -> str:
        seconds = seconds_of(str(value))
        return str(value).strip() if seconds or (may_be_zero and seconds is not None) else instead

    return Duration(tidy, instead)


Natural = Annotated[int, Before(_not_negative)]
Trimmed = Annotated[str, Before(_trimmed)]
Url = Annotated[str, Before(_slashless)]
Prefix = Annotated[str, Before(_prefix)]
Headers = Annotated[dict[str, str], Before(_headers)]
Patterns = Annotated[tuple[str, ...], Before(_patterns)]
Amount = Annotated[float, Meta(ge=0)]
