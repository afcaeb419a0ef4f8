"""What an edit must not lose or write needlessly: unknown members of items, and defaults."""

from __future__ import annotations

from typing import Any

from cpa.config.list_match import match_items, same
from cpa.config.schema import section_in
from cpa.config.section import Section, Setting, fields_of, to_plain
from cpa.config.settings import Config


def with_unknown(path: tuple[str | int, ...], old: Any, new: Any) -> Any:
    """``new`` with the members of ``old`` that cpa has no field for, and without defaults ``old`` did not spell out."""
    model: type[Section] | None = Config
    for key in path:
        if model is None:
            return new
        if isinstance(key, str) and key in (fields := fields_of(model)):
            model = section_in(fields[key].annotation)
        elif isinstance(key, str) and not issubclass(model, Config):
            continue  # a free name in a mapping of sections, such as a channel
        elif isinstance(key, str):
            return new
    return _carry(model, old, new) if model is not None else new


def _carry(model: type[Section], old: Any, new: Any) -> Any:
    if isinstance(old, list) and isinstance(new, list | tuple):
        items = list(new)
        for index, origin in enumerate(match_items(old, items)):
            if origin is not None:
                items[index] = _carry(model, old[origin], items[index])
        return items
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    fields = fields_of(model)
    carried: dict[str, Any] = {}
    for key, value in new.items():
        if key in fields and key not in old and _is_default(fields[key], value):
            continue
        inner = section_in(fields[key].annotation) if key in fields else None
        carried[key] = _carry(inner, old[key], value) if inner is not None and key in old else value
    return {**carried, **{key: value for key, value in old.items() if key not in fields and key not in new}}


def _is_default(setting: Setting, value: Any) -> bool:
    return same(to_plain(setting.default()), value)


def defaulted(data: Any, path: tuple[str | int, ...], value: Any) -> bool:
    """Whether ``path`` is absent from ``data`` and ``value`` is what an absent key means anyway."""
    node, default = data, Config().plain()
    for key in path:
        if isinstance(node, dict):
            node = node.get(key)
        elif node is not None:
            return False
        if not isinstance(default, dict) or key not in default:
            return False
        default = default[key]
    return node is None and same(default, value)
