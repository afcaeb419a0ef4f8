"""Single values of a configuration: what a file may write for a number, a switch, a text, a path.

Each function gives the value, or raises ValueError with what was expected.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Meta

_BOOLEANS = {
    **dict.fromkeys(("1", "on", "t", "true", "y", "yes"), True),
    **dict.fromkeys(("0", "off", "f", "false", "n", "no"), False),
}


def _boolean(value: Any) -> bool:
    found = value if isinstance(value, bool) else None
    if isinstance(value, int | float) and value in (0, 1):
        found = bool(value)
    elif isinstance(value, str):
        found = _BOOLEANS.get(value.strip().lower())
    if found is None:
        raise ValueError("expected true or false")
    return found


def _whole_number(value: Any) -> int:
    if isinstance(value, int):
        return int(value)
    try:
        number = float(value) if isinstance(value, float) or "." in value else int(value)
        if number == int(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError("expected a whole number")


def _number(value: Any) -> float:
    try:
        if isinstance(value, int | float | str):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError("expected a number")


def text(value: Any) -> str:
    """A text; a number counts as one."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise ValueError("expected a text")
    return value


def _path(value: Any) -> Path:
    return value if isinstance(value, Path) else Path(text(value))


def _nothing(value: Any) -> None:
    if value is not None:
        raise ValueError("expected nothing")


def one_of(options: tuple[Any, ...]) -> Callable[[Any], Any]:
    """What refuses everything but these texts."""
    names = ", ".join(map(str, options[:-1])) + f" or {options[-1]}"

    def convert(value: Any) -> Any:
        if not isinstance(value, str) or value not in options:
            raise ValueError(f"expected {names}")
        return value

    return convert


def within(bounds: Meta) -> Callable[[Any], Any]:
    """What refuses a value that is out of bounds, which includes what is no number at all."""

    def check(value: Any) -> Any:
        if bounds.ge is not None and not value >= bounds.ge:
            raise ValueError(f"expected a number of at least {bounds.ge}")
        if bounds.gt is not None and not value > bounds.gt:
            raise ValueError(f"expected a number above {bounds.gt}")
        if bounds.le is not None and not value <= bounds.le:
            raise ValueError(f"expected a number of at most {bounds.le}")
        if bounds.min_length is not None and len(value) < bounds.min_length:
            raise ValueError("expected a text that is not empty")
        return value

    return check


SCALARS: dict[Any, Callable[[Any], Any]] = {
    bool: _boolean,
    int: _whole_number,
    float: _number,
    str: text,
    Path: _path,
    types.NoneType: _nothing,
    Any: lambda value: value,
}
"""What reads the values of a type."""
