"""Read members of JSON objects that may hold anything."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.errors import InvalidRequest

Object = dict[str, Any]


def text(raw: Object, name: str) -> str | None:
    """A non-empty string member, else None."""
    value = raw.get(name)
    return value if isinstance(value, str) and value else None


def flag(raw: Object, name: str) -> bool | None:
    """A boolean member, else None."""
    value = raw.get(name)
    return value if isinstance(value, bool) else None


def object_of(value: Any) -> Object:
    """``value`` when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Object]:
    """The objects in a list; anything else counts as none."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def strings(value: Any) -> list[str] | None:
    """The strings in a list, None when there are none."""
    if not isinstance(value, list):
        return None
    return [item for item in value if isinstance(item, str)] or None


def number(raw: Object, name: str) -> float | int | None:
    """A number member. Raises InvalidRequest for another type."""
    value = raw.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{name} must be a number", param=name)
    return value


def integer(raw: Object, name: str) -> int | None:
    """A whole number member. Raises InvalidRequest for another type."""
    value = number(raw, name)
    if value is None:
        return None
    if value != int(value):
        raise InvalidRequest(f"{name} must be an integer", param=name)
    return int(value)


def count(raw: Object, *names: str) -> int | None:
    """A token count under the first of ``names`` that has one."""
    for name in names:
        value = raw.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
    return None


def json_text(value: Any) -> str:
    """Arguments as JSON text; a string is taken as it is, nothing is an empty object."""
    if isinstance(value, str):
        return value
    return "{}" if value is None else orjson.dumps(value).decode()
