"""What every list in the configuration has in common: reading it from a body, finding an item, storing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from cpa.config.file import assign
from cpa.management.answers import Refusal


def not_found() -> Refusal:
    """There is no such item."""
    return Refusal(404, "item not found")


def items_in(body: Any, *names: str) -> list[Any]:
    """The list a body gives: itself, or under one of ``names`` or ``items`` (and then not empty). ``null`` is empty."""
    if body is None:
        return []
    if isinstance(body, list):
        return body
    if isinstance(body, dict):
        for name in (*names, "items"):
            items = body.get(name)
            if isinstance(items, list) and items:
                return items
    raise Refusal(400, "invalid body")


def stored(data: dict[str, Any], key: str) -> list[Any]:
    """A copy of the list under ``key`` in the file's data."""
    found = data.get(key)
    return list(found) if isinstance(found, list | tuple) else []


def store(data: dict[str, Any], key: str, items: Iterable[Any], *, keep_unknown: bool = True) -> None:
    """Put a list under ``key``; members of items that cpa does not know stay where the item stays."""
    assign(data, (key,), list(items), keep_unknown=keep_unknown)


def find(items: list[Any], index: int | None, matches: Callable[[Any], bool] | None) -> int:
    """The position of an item: an ``index`` that is in range wins, else the first that matches. Refuses with 404."""
    if index is not None and 0 <= index < len(items):
        return index
    if matches is not None:
        for position, item in enumerate(items):
            if matches(item):
                return position
    raise not_found()


def text(value: Any) -> str:
    """A trimmed text; '' for anything that is none."""
    return value.strip() if isinstance(value, str) else ""
