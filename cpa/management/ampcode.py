"""``/ampcode`` and its two lists; its single settings are in :mod:`cpa.management.scalars`."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import Struct

from cpa.config.file import assign
from cpa.config.sections import Amp, AmpKeyMapping, AmpModelMapping
from cpa.management.answers import Refusal, answer, ok, parse_json, read_body, read_object
from cpa.management.lists import not_found, text
from cpa.management.route import Route, schema_of
from cpa.management.services import Management


class AmpList(Struct, frozen=True):
    """What is peculiar to one of the lists."""

    key: str
    identity: str
    """The member by which entries are told apart."""
    nothing: str
    """What is said when a ``PATCH`` brings nothing that can be used."""

    @property
    def path(self) -> tuple[str, str]:
        """Where it stands in the file."""
        return ("ampcode", self.key)

    def tidy(self, entries: Any) -> list[dict[str, Any]]:
        """The usable entries: texts trimmed, those without identity dropped. Refuses what is no list of objects."""
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise Refusal(400, "invalid body")
        kept = []
        for entry in entries:
            tidy = {name: value.strip() if isinstance(value, str) else value for name, value in entry.items()}
            if isinstance(tidy.get("api-keys"), list):
                tidy["api-keys"] = [text(key) for key in tidy["api-keys"] if text(key)]
            if tidy.get(self.identity):
                kept.append(tidy)
        return kept


MAPPINGS = AmpList("model-mappings", "from", "value must contain at least one mapping")
KEYS = AmpList(
    "upstream-api-keys",
    "upstream-api-key",
    "value must contain at least one entry with a non-empty upstream-api-key",
)


class AmpEntries:
    """One list."""

    def __init__(self, management: Management, kind: AmpList) -> None:
        self._management = management
        self._kind = kind

    async def get(self, request: web.Request) -> web.Response:
        """The list."""
        return answer({self._kind.key: shown_amp(self._management)[self._kind.key]})

    async def put(self, request: web.Request) -> web.Response:
        """Replace the list; no ``value`` clears it."""
        wanted = self._kind.tidy((await read_object(request)).get("value") or [])
        await self._management.writer.edit(request, lambda data: assign(data, self._kind.path, wanted))
        return ok()

    async def patch(self, request: web.Request) -> web.Response:
        """Add entries, replacing those of the same identity."""
        given = self._kind.tidy((await read_object(request)).get("value") or [])
        if not given:
            raise Refusal(400, self._kind.nothing)
        identity = self._kind.identity

        def change(data: dict[str, Any]) -> None:
            merged = {text(entry.get(identity)): entry for entry in [*_stored(data, self._kind), *given]}
            assign(data, self._kind.path, list(merged.values()))

        await self._management.writer.edit(request, change)
        return ok()

    async def delete(self, request: web.Request) -> web.Response:
        """Remove the entries named in ``value``; an empty list, or ``?all=true`` without a body, removes all."""
        names = await self._named(request)

        def change(data: dict[str, Any]) -> None:
            known = _stored(data, self._kind)
            kept = [entry for entry in known if names and text(entry.get(self._kind.identity)) not in names]
            if names and len(kept) == len(known):
                raise not_found()
            assign(data, self._kind.path, kept)

        await self._management.writer.edit(request, change)
        return ok()

    async def _named(self, request: web.Request) -> set[str]:
        if request.query.get("all", "").lower() in ("1", "true", "yes", "on"):
            return set()
        body = parse_json(await read_body(request))
        value = body.get("value") if isinstance(body, dict) else None
        if value is None:
            raise Refusal(400, "missing value")
        if not isinstance(value, list):
            raise Refusal(400, "invalid body")
        names = {text(name) for name in value} - {""}
        if value and not names:
            raise Refusal(400, "empty value")
        return names


def _stored(data: dict[str, Any], kind: AmpList) -> list[dict[str, Any]]:
    section = data.get("ampcode")
    found = section.get(kind.key) if isinstance(section, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def shown_amp(management: Management) -> dict[str, Any]:
    """The whole section; false members of a mapping are left out."""
    amp = management.config.ampcode
    shown: dict[str, Any] = amp.plain()
    shown["model-mappings"] = [mapping.plain(sparse=True) for mapping in amp.model_mappings]
    return shown


def routes(management: Management) -> list[Route]:
    """The section, and four routes for each list."""

    async def whole(request: web.Request) -> web.Response:
        return answer({"ampcode": shown_amp(management)})

    schema = {"type": "object", "properties": {"ampcode": schema_of(Amp)}, "required": ["ampcode"]}
    found = [Route(method="GET", path="/ampcode", handler=whole, summary="The Amp integration", answer=schema)]
    for kind in (MAPPINGS, KEYS):
        found += _routes(AmpEntries(management, kind), kind.key)
    return found


def _routes(entries: AmpEntries, key: str) -> list[Route]:
    path = f"/ampcode/{key}"
    items = {"type": "array", "items": schema_of(AmpModelMapping if key == MAPPINGS.key else AmpKeyMapping)}
    shown = {"type": "object", "properties": {key: items}, "required": [key]}
    objects = {"type": "object", "properties": {"value": items}}
    names = {
        "type": "object",
        "properties": {"value": {"type": "array", "items": {"type": "string"}}},
        "required": ["value"],
    }
    return [
        Route(method="GET", path=path, handler=entries.get, summary=f"Amp: {key}", answer=shown),
        Route(method="PUT", path=path, handler=entries.put, summary=f"Amp: replace {key}", body=objects),
        Route(method="PATCH", path=path, handler=entries.patch, summary=f"Amp: add to {key}", body=objects),
        Route(method="DELETE", path=path, handler=entries.delete, summary=f"Amp: remove from {key}", body=names),
    ]
