"""Which item of an old list is which item of a new one."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable
from typing import Any

IDENTITIES: tuple[tuple[str, ...], ...] = (
    ("api-key", "base-url"),
    ("name", "alias"),
    ("name",),
    ("api-key",),
    ("key",),
    ("upstream-api-key",),
    ("alias",),
    ("from",),
    ("id",),
    ("provider",),
    ("model",),
    ("base-url",),
)
"""Keys that identify an item, strongest first."""


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal with equal types: ``1``, ``1.0`` and ``true`` are three values."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def match_items(old: list[Any], new: list[Any]) -> list[int | None]:
    """For each new item the position of the old one it continues, or None. No old item is used twice."""
    origins: list[int | None] = [None] * len(new)
    free = dict.fromkeys(range(len(old)))
    if len(old) == len(new):
        for index, item in enumerate(old):
            if same(item, new[index]):
                origins[index] = index
                del free[index]
    _pair(old, new, origins, free, _frozen)
    for keys in IDENTITIES:
        _pair(old, new, origins, free, lambda item, keys=keys: _identity(item, keys))
    if len(old) == len(new):
        for index, origin in enumerate(origins):
            if origin is None and index in free:
                origins[index] = index
                del free[index]
    return origins


def _pair(old: list[Any], new: list[Any], origins: list[int | None], free: dict[int, None], mark: Any) -> None:
    waiting: defaultdict[Hashable, deque[int]] = defaultdict(deque)
    for index in free:
        if (label := mark(old[index])) is not None:
            waiting[label].append(index)
    for index, item in enumerate(new):
        if origins[index] is None and (queue := waiting.get(mark(item))):
            origins[index] = queue.popleft()
            del free[origins[index]]  # type: ignore[arg-type]


def _identity(item: Any, keys: tuple[str, ...]) -> Hashable | None:
    if not isinstance(item, dict) or not isinstance(item.get(keys[0]), str):
        return None
    return tuple(_frozen(item.get(key)) for key in keys)


def _frozen(value: Any) -> Hashable:
    """A hashable stand-in that differs whenever ``same`` would."""
    if isinstance(value, dict):
        return ("map", frozenset((key, _frozen(inner)) for key, inner in value.items()))
    if isinstance(value, list):
        return ("list", *map(_frozen, value))
    return (type(value).__name__, value)
