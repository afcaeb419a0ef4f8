"""``/api-keys``: the keys of clients."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from cpa.config.sections import ClientKey
from cpa.management.answers import Refusal, answer, member, ok, query_index, read_json, read_object
from cpa.management.lists import find, items_in, not_found, store, stored, text
from cpa.management.route import Query, Route, schema_of
from cpa.management.services import Management

KEY = "api-keys"
_LIST = {"type": "array", "items": {"anyOf": [{"type": "string"}, schema_of(ClientKey)]}}


def key_text(item: Any) -> str:
    """The key in a member of the list, which is a text or an object with limits."""
    return text(item.get("key") if isinstance(item, dict) else item)


class ApiKeys:
    """The list as texts; keys with limits keep their limits when the list is written back."""

    def __init__(self, management: Management) -> None:
        self._management = management

    async def get(self, request: web.Request) -> web.Response:
        """``{"api-keys": ["k1"]}``"""
        keys = self._management.config.api_keys
        return answer({KEY: [key if isinstance(key, str) else key.key for key in keys]})

    async def put(self, request: web.Request) -> web.Response:
        """Replace the list."""
        wanted = [item for item in items_in(await read_json(request), KEY) if key_text(item)]
        if not all(isinstance(item, str | dict) for item in wanted):
            raise Refusal(400, "invalid body")

        def change(data: dict[str, Any]) -> None:
            known = {key_text(item): item for item in stored(data, KEY) if isinstance(item, dict)}
            items = [known.get(text(item), text(item)) if isinstance(item, str) else item for item in wanted]
            store(data, KEY, _unique(items))

        await self._management.writer.edit(request, change)
        return ok()

    async def patch(self, request: web.Request) -> web.Response:
        """Replace one key by position, or by its old value; an unknown old value appends."""
        body = await read_object(request)
        index, value = member(body, "index", int), _key(body.get("value"))
        old, new = member(body, "old", str), member(body, "new", str)
        if index is None or value is None:
            if not new or not new.strip():
                raise Refusal(400, "missing fields")
            await self._management.writer.edit(request, lambda data: _replace(data, text(old), text(new)))
            return ok()

        def change(data: dict[str, Any]) -> None:
            items = stored(data, KEY)
            _set(items, find(items, index, None), value)
            store(data, KEY, _unique(items))

        await self._management.writer.edit(request, change)
        return ok()

    async def delete(self, request: web.Request) -> web.Response:
        """Remove by position or by value."""
        index, value = query_index(request), request.query.get("value")
        if index is None and value is None:
            raise Refusal(400, "missing index or value")

        def change(data: dict[str, Any]) -> None:
            items = stored(data, KEY)
            if index is not None:
                del items[find(items, index, None)]
            else:
                kept = [item for item in items if key_text(item) != text(value)]
                if len(kept) == len(items):
                    raise not_found()
                items = kept
            store(data, KEY, items)

        await self._management.writer.edit(request, change)
        return ok()


def _replace(data: dict[str, Any], old: str, new: str) -> None:
    items = stored(data, KEY)
    position = next((i for i, item in enumerate(items) if old and key_text(item) == old), None)
    if position is None:
        items.append(new)
    else:
        _set(items, position, new)
    store(data, KEY, _unique(items))


def _set(items: list[Any], position: int, key: str | dict[str, Any]) -> None:
    """Replace a member: by another key with the same limits, or as a whole."""
    known = items[position]
    items[position] = {**known, "key": key} if isinstance(known, dict) and isinstance(key, str) else key


def _key(value: Any) -> str | dict[str, Any] | None:
    """A member of the list as a body gives it: a text, or an object with limits."""
    if isinstance(value, dict):
        return {str(name): entry for name, entry in value.items()}
    if value is not None and not isinstance(value, str):
        raise Refusal(400, "invalid body")
    return text(value) if value is not None else None


def _unique(items: list[Any]) -> list[Any]:
    kept: dict[str, Any] = {}
    for item in items:
        if key := key_text(item):
            kept.setdefault(key, item)
    return list(kept.values())


def routes(management: Management) -> list[Route]:
    """The four routes."""
    keys = ApiKeys(management)
    shown = {"type": "object", "properties": {KEY: {"type": "array", "items": {"type": "string"}}}, "required": [KEY]}
    patch = {
        "type": "object",
        "properties": {
            "index": {"type": "integer"},
            "value": {"anyOf": [{"type": "string"}, {"type": "object"}]},
            "old": {"type": ["string", "null"]},
            "new": {"type": "string"},
        },
    }
    where = (
        Query("index", "Position in the list", {"type": "integer"}),
        Query("value", "The key itself"),
    )
    return [
        Route(method="GET", path=f"/{KEY}", handler=keys.get, summary="Keys of clients", answer=shown),
        Route(method="PUT", path=f"/{KEY}", handler=keys.put, summary="Replace the keys of clients", body=_LIST),
        Route(method="PATCH", path=f"/{KEY}", handler=keys.patch, summary="Change or add one key", body=patch),
        Route(method="DELETE", path=f"/{KEY}", handler=keys.delete, summary="Remove keys", query=where),
    ]
