"""Small readers for JSON of any shape."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def text_of(value: Any) -> str | None:
    """A non-empty string, else None."""
    return value if isinstance(value, str) and value else None


def an_object(value: Any) -> Object:
    """A JSON object; anything else counts as empty."""
    return value if isinstance(value, dict) else {}


def a_list(value: Any) -> list[Any]:
    """A JSON array; anything else counts as empty."""
    return value if isinstance(value, list) else []


def without(value: Object, *names: str) -> Object:
    """A copy without some members; the same object when it has none of them."""
    return {k: v for k, v in value.items() if k not in names} if any(name in value for name in names) else value
