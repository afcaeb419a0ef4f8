"""A list of objects in the configuration as a resource: read, replace, change one, remove one."""

from __future__ import annotations

from typing import Any, ClassVar

from aiohttp import web

from cpa.config.carry import with_unknown
from cpa.management.answers import Refusal, answer, member, ok, parse_json, query_index, read_body, read_object
from cpa.management.lists import find, items_in, not_found, store, stored, text
from cpa.management.route import STATUS_OK, Query, Route
from cpa.management.services import Management


class ListResource:
    """Subclasses say what is peculiar to their list."""

    key: ClassVar[str]
    """In the file, in the path and in answers."""
    identity: ClassVar[str] = "name"
    """The member by which an item is found."""
    selector: ClassVar[str] = "match"
    """Where a ``PATCH`` names that item."""
    appends: ClassVar[bool] = False
    """Whether a ``PATCH`` that finds no item adds one."""
    item_schema: ClassVar[dict[str, Any]] = {"type": "object"}

    def __init__(self, management: Management) -> None:
        self.management = management

    # -- peculiarities -----------------------------------------------------------------------------------------

    def shown(self) -> list[Any]:
        """The items as answers give them."""
        raise NotImplementedError

    def tidy(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items to store of those a client sent. Raises Refusal for what must not be stored."""
        return items

    def collapsed(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The list without items that repeat others."""
        return items

    def refuse(self, items: list[dict[str, Any]]) -> None:
        """Raise Refusal when the list, as it is to be stored, is wrong."""

    def as_written(self, known: list[Any], items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """``items`` without what ``known``, the list in the file, leaves to be understood."""
        return items

    def changed(self, known: dict[str, Any], value: dict[str, Any]) -> dict[str, Any] | None:
        """What a ``PATCH`` makes of an item ({} for a new one); None removes it."""
        return value

    def without(self, items: list[Any], request: web.Request) -> list[Any]:
        """The items a ``DELETE`` leaves. Raises Refusal."""
        name, index = request.query.get(self.identity), query_index(request)
        if not name and index is None:
            raise Refusal(400, f"missing {self.identity} or index")
        if not name:
            position = find(items, index, None)
            return items[:position] + items[position + 1 :]
        kept = [item for item in items if item.get(self.identity) != name]
        if len(kept) == len(items):
            raise not_found()
        return kept

    # -- the four calls ----------------------------------------------------------------------------------------

    async def get(self, request: web.Request) -> web.Response:
        """``{"<key>": [...]}``"""
        return answer({self.key: self.shown()})

    async def put(self, request: web.Request) -> web.Response:
        """Replace the list, given bare, under its key or under ``items``; nothing clears it."""
        content = await read_body(request)
        wanted = self.tidy(_objects(items_in(parse_json(content), self.key) if content.strip() else []))
        self.refuse(wanted)

        def change(data: dict[str, Any]) -> None:
            store(data, self.key, self.as_written(stored(data, self.key), wanted))

        await self.management.writer.edit(request, change)
        return ok()

    async def patch(self, request: web.Request) -> web.Response:
        """Change one item: ``{"index": 0, "value": {...}}``, or by its name. The answer holds what became of it."""
        body = await read_object(request)
        index, value = member(body, "index", int), member(body, "value", dict)
        wanted = text(member(body, self.selector, str))
        if value is None:
            raise Refusal(400, "invalid body")
        place: int | None = None

        def change(data: dict[str, Any]) -> None:
            nonlocal place
            items = _objects(stored(data, self.key))
            position = self._position(items, index, wanted)
            known = items[position] if position < len(items) else {}
            new = self.changed(known, value)
            tidy = [] if new is None else self.tidy([new])
            tidy = self.as_written(items, tidy)
            place = position if tidy else None
            items[position : position + 1] = [with_unknown((self.key, position), known, item) for item in tidy]
            self.refuse(items)
            store(data, self.key, self.collapsed(items))

        await self.management.writer.edit(request, change)
        shown = self.shown()
        return ok(entry=shown[place]) if place is not None and place < len(shown) else ok()

    async def delete(self, request: web.Request) -> web.Response:
        """Remove items, named in the query."""

        def change(data: dict[str, Any]) -> None:
            store(data, self.key, self.without(_objects(stored(data, self.key)), request))

        await self.management.writer.edit(request, change)
        return ok()

    def _position(self, items: list[Any], index: int | None, wanted: str) -> int:
        try:
            return find(items, index, (lambda item: text(item.get(self.identity)) == wanted) if wanted else None)
        except Refusal:
            if not self.appends:
                raise
            return len(items)

    def routes(self) -> list[Route]:
        """The four routes."""
        path, entries = f"/{self.key}", {"type": "array", "items": self.item_schema}
        shown = {
            "type": "object",
            "properties": {self.key: {"type": "array", "items": self.item_schema}},
            "required": [self.key],
        }
        patch = {
            "type": "object",
            "properties": {
                "index": {"type": "integer"},
                self.selector: {"type": "string"},
                "value": self.item_schema if self.appends else {"type": "object"},
            },
            "required": ["value"],
        }
        where = (
            Query(self.identity, f"The item's {self.identity}"),
            Query("index", "Position in the list", {"type": "integer"}),
        )
        changed = {
            "type": "object",
            "properties": {**STATUS_OK["properties"], "entry": self.item_schema},
            "required": ["status"],
        }
        what, one = self.key, f"Change one of {self.key}"
        return [
            Route(method="GET", path=path, handler=self.get, summary=f"The list {what}", answer=shown),
            Route(method="PUT", path=path, handler=self.put, summary=f"Replace {what}", body=entries),
            Route(method="PATCH", path=path, handler=self.patch, summary=one, body=patch, answer=changed),
            Route(method="DELETE", path=path, handler=self.delete, summary=f"Remove from {what}", query=where),
        ]


def _objects(items: list[Any]) -> list[dict[str, Any]]:
    if not all(isinstance(item, dict) for item in items):
        raise Refusal(400, "invalid body")
    return items
