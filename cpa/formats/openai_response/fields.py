"""Read members of JSON objects that may hold anything."""

from __future__ import annotations

from typing import Any

import orjson

from cpa.conversation.numbers import natural

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


def count(raw: Object, *names: str) -> int | None:
    """A token count under the first of ``names`` that has one."""
    for name in names:
        value = natural(raw.get(name))
        if value is not None:
            return value
    return None


def json_text(value: Any) -> str:
    """Arguments as JSON text; a string is taken as it is, nothing is an empty object."""
    if isinstance(value, str):
        return value
    return "{}" if value is None else orjson.dumps(value).decode()
