"""Changes to the options of a login: which members may be set, to what, and what emptiness means."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from datetime import datetime
from typing import Any, TypeAlias

from cpa.accounts.files import JsonObject
from cpa.management.answers import Refusal
from cpa.management.entries import tidy_patterns
from cpa.management.scalars import proxy_url

Edit: TypeAlias = Callable[[JsonObject], None]

GUARDED = frozenset(
    {"access_token", "refresh_token", "id_token", "token", "api_key", "cookie", "service_account", "type", "email"}
)
"""Secrets and identity: changed by logging in or uploading, never here."""
_SPELLINGS = {"disable-cooling": "disable_cooling", "excluded-models": "excluded_models"}
_LARGEST_WEIGHT = 1_000_000


def field_edits(body: JsonObject) -> Callable[[JsonObject], JsonObject]:
    """The edit of an auth file that ``body`` asks for. Refuses what cannot be stored, and a body that asks nothing."""
    edits: list[Edit] = []
    for name, value in body.items():
        edit = _edit_of(name, value)
        if edit is not None:
            edits.append(edit)
    if not edits:
        raise Refusal(400, "no fields to update")

    def apply(data: JsonObject) -> JsonObject:
        changed = deepcopy(data)
        for edit in edits:
            edit(changed)
        return changed

    return apply


def _edit_of(name: str, value: Any) -> Edit | None:
    """The edit for one member; None when it asks for nothing."""
    if not name:
        raise Refusal(400, "field name is required")
    path = name.split(".")
    if not all(part.strip() for part in path):
        raise Refusal(400, f"invalid field path: {name}", code="invalid_field")
    name = _SPELLINGS.get(name, name)
    if path[0] in GUARDED:
        raise Refusal(400, f"{path[0]} cannot be changed here", code="invalid_field")
    if len(path) > 1:
        return lambda data: _put_inside(data, path, value)
    if name == "headers" and isinstance(value, dict):
        return _headers(value)
    check = _CHECKS.get(name)
    if check is None:
        return lambda data: data.__setitem__(name, value)
    stored = check(name, value)
    return _drop(name) if stored is None else lambda data: _store(data, name, stored)


def _store(data: JsonObject, name: str, value: Any) -> None:
    for spelling in [other for other, known in _SPELLINGS.items() if known == name]:
        data.pop(spelling, None)
    data[name] = value


def _drop(name: str) -> Edit:
    def edit(data: JsonObject) -> None:
        for spelling in (name, *(other for other, known in _SPELLINGS.items() if known == name)):
            data.pop(spelling, None)

    return edit


def _put_inside(data: JsonObject, path: list[str], value: Any) -> None:
    node = data
    for part in path[:-1]:
        inner = node.get(part)
        if not isinstance(inner, dict):
            inner = node[part] = {}
        node = inner
    node[path[-1]] = value


def _headers(given: JsonObject) -> Edit | None:
    """Merged into the known ones; a blank value removes a header."""
    wanted: dict[str, str] = {}
    for name, value in given.items():
        if not isinstance(value, str):
            raise Refusal(400, "headers must be texts")
        if name.strip():
            wanted[name.strip()] = value.strip()
    if not wanted:
        return None

    def edit(data: JsonObject) -> None:
        known = data.get("headers")
        merged = {**(known if isinstance(known, dict) else {}), **wanted}
        merged = {name: value for name, value in merged.items() if value}
        if merged:
            data["headers"] = merged
        else:
            data.pop("headers", None)

    return edit


def _text(name: str, value: Any) -> str | None:
    if not isinstance(value, str):
        raise Refusal(400, f"{name} must be a text", code="invalid_field")
    return value.strip() or None


def _proxy(name: str, value: Any) -> str | None:
    found = _text(name, value)
    return proxy_url(found) if found else None


def _integer(name: str, value: Any) -> int | None:
    if isinstance(value, str) and value.strip().lstrip("+-").isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise Refusal(400, f"{name} must be a whole number", code="invalid_field")
    return value or None


def _weight(name: str, value: Any) -> int:
    found = _integer(name, value) or 0
    if not 0 <= found <= _LARGEST_WEIGHT:
        raise Refusal(400, f"{name} must be between 0 and {_LARGEST_WEIGHT}", code="invalid_field")
    return found


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise Refusal(400, f"{name} must be true or false", code="invalid_field")
    return value


def _patterns(name: str, value: Any) -> list[str] | None:
    if not isinstance(value, list):
        raise Refusal(400, f"{name} must be a list", code="invalid_field")
    return tidy_patterns(value) or None


def _time(name: str, value: Any) -> str:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise Refusal(400, f"{name} must be a time such as 2026-01-31T12:00:00Z", code="invalid_field") from None
    return str(value)


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "prefix": _text,
    "proxy_url": _proxy,
    "note": _text,
    "project_id": _text,
    "priority": _integer,
    "weight": _weight,
    "websockets": _boolean,
    "disabled": _boolean,
    "disable_cooling": _boolean,
    "using_api": _boolean,
    "excluded_models": _patterns,
    "expired": _time,
}
"""What each member must be; gives the value to store, None to remove the member."""
