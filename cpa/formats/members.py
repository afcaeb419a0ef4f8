"""Members of a request body that can only be of one type.

Each takes the value and the path to name in the error; null counts as absent. They raise InvalidRequest: what a client
asked for in a form nobody understands must not be dropped in silence.
"""

from __future__ import annotations

from typing import Any

from cpa.errors import InvalidRequest

_INTEGERS = range(-(2**63), 2**63)


def a_number(value: Any, param: str) -> float | int | None:
    """A number."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{param} must be a number", param=param)
    return value


def an_integer(value: Any, param: str) -> int | None:
    """A whole number of at most 64 bits; ``40.0`` is one."""
    number = a_number(value, param)
    if number is None:
        return None
    if int(number) not in _INTEGERS or number != int(number):
        raise InvalidRequest(f"{param} must be an integer", param=param)
    return int(number)


def a_string(value: Any, param: str) -> str | None:
    """A string; an empty one counts as absent."""
    if not isinstance(value, str | None):
        raise InvalidRequest(f"{param} must be a string", param=param)
    return value or None


def strings(value: Any, param: str) -> list[str] | None:
    """A string or a list of strings, None when there are none."""
    if isinstance(value, str):
        return [value] if value else None
    if not isinstance(value, list | None) or any(not isinstance(item, str) for item in value or ()):
        raise InvalidRequest(f"{param} must be a string or a list of strings", param=param)
    return value or None


def an_object(value: Any, param: str) -> dict[str, Any] | None:
    """An object."""
    if not isinstance(value, dict | None):
        raise InvalidRequest(f"{param} must be an object", param=param)
    return value


def a_list(value: Any, param: str) -> list[Any] | None:
    """A list."""
    if not isinstance(value, list | None):
        raise InvalidRequest(f"{param} must be a list", param=param)
    return value


def name(value: Any, param: str) -> str:
    """A string that must be there."""
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{param} is required", param=param)
    return value
