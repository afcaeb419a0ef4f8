"""Maps from a provider to a list: models it must not offer, aliases, rules for errors, all of them for logins."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from aiohttp import web
from msgspec import Struct

from cpa.config.file import assign
from cpa.config.provider_sections import ErrorRule
from cpa.config.sections import OAuthAlias
from cpa.management.answers import Refusal, answer, ok, read_json, read_object
from cpa.management.entries import tidy_patterns
from cpa.management.lists import text
from cpa.management.route import Query, Route, Schema, schema_of
from cpa.management.services import Management


class ProviderMap(Struct, frozen=True):
    """What is peculiar to one of the maps."""

    key: str
    noun: str
    """``provider`` or ``channel``: the member that names it, and the word in refusals."""
    members: tuple[str, ...]
    """Where a ``PATCH`` has the list."""
    tidy: Callable[[list[Any]], list[Any]]
    shown: Callable[[Any], Any]
    """An item as answers give it."""
    item: Schema
    """Schema of an item."""
    stays: bool = False
    """Whether the key stays in the file when nothing is left in it."""


def tidy_aliases(aliases: list[Any]) -> list[dict[str, Any]]:
    """Pairs of name and alias that say something, an alias only once."""
    kept: dict[str, dict[str, Any]] = {}
    for entry in aliases:
        if not isinstance(entry, dict):
            continue
        name = text(entry.get("name") or entry.get("id") or entry.get("model"))
        alias = text(entry.get("alias"))
        if not name or not alias or name.lower() == alias.lower():
            continue
        rest = {key: value for key, value in entry.items() if key not in ("name", "id", "model", "alias")}
        if not rest.get("fork"):
            rest.pop("fork", None)
        kept.setdefault(alias.lower(), {"name": name, "alias": alias, **rest})
    return list(kept.values())


def tidy_rules(rules: list[Any]) -> list[dict[str, Any]]:
    """Rules as they are, after a look at their expressions. Refuses what is no rule."""
    for rule in rules:
        patterns = rule.get("match-regexr") or [] if isinstance(rule, dict) else None
        if not isinstance(patterns, list):
            raise Refusal(400, "invalid body")
        for pattern in patterns:
            try:
                re.compile(pattern)
            except (re.error, TypeError, RecursionError, OverflowError) as fault:
                raise Refusal(400, "invalid regex", f"match-regexr: {fault}") from None
    return rules


def _shown_alias(alias: Any) -> Any:
    return alias.plain(sparse=True)


def _shown_rule(rule: Any) -> Any:
    return {**_shown_alias(rule), "action": rule.action}


MAPS = (
    ProviderMap("oauth-excluded-models", "provider", ("models",), tidy_patterns, str, {"type": "string"}),
    ProviderMap(
        "oauth-model-alias",
        "channel",
        ("aliases", "models"),
        tidy_aliases,
        _shown_alias,
        schema_of(OAuthAlias),
        stays=True,
    ),
    ProviderMap("oauth-request-scoped-errors", "channel", ("rules",), tidy_rules, _shown_rule, schema_of(ErrorRule)),
)


class OAuthModels:
    """One map."""

    def __init__(self, management: Management, kind: ProviderMap) -> None:
        self._management = management
        self._kind = kind

    async def get(self, request: web.Request) -> web.Response:
        """The map."""
        sections = getattr(self._management.config, self._kind.key.replace("-", "_"))
        shown = {name: [self._kind.shown(item) for item in items] for name, items in sections.items()}
        return answer({self._kind.key: shown})

    async def put(self, request: web.Request) -> web.Response:
        """Replace the map, given bare or under ``items``."""
        body = await read_json(request)
        if isinstance(body, dict) and isinstance(body.get("items"), dict):
            body = body["items"]
        if body is None:
            body = {}
        if not isinstance(body, dict) or not all(isinstance(items, list | None) for items in body.values()):
            raise Refusal(400, "invalid body")
        wanted = {name.strip().lower(): self._kind.tidy(items or []) for name, items in body.items() if name.strip()}
        await self._store(request, lambda known: {name: items for name, items in wanted.items() if items})
        return ok()

    async def patch(self, request: web.Request) -> web.Response:
        """Set the list of one provider; an empty list removes it."""
        body = await read_object(request)
        name = (text(body.get(self._kind.noun)) or text(body.get("provider"))).lower()
        if not name:
            raise Refusal(400, f"invalid {self._kind.noun}")
        given: Any = next((body[key] for key in self._kind.members if body.get(key) is not None), [])
        if not isinstance(given, list):
            raise Refusal(400, "invalid body")
        items = self._kind.tidy(given)

        def change(known: dict[str, Any]) -> dict[str, Any]:
            return {**known, name: items} if items else self._without(known, name)

        await self._store(request, change)
        return ok()

    async def delete(self, request: web.Request) -> web.Response:
        """Remove one provider."""
        name = (request.query.get(self._kind.noun) or request.query.get("provider") or "").strip().lower()
        if not name:
            raise Refusal(400, f"missing {self._kind.noun}")
        await self._store(request, lambda known: self._without(known, name))
        return ok()

    def _without(self, known: dict[str, Any], name: str) -> dict[str, Any]:
        kept = {key: items for key, items in known.items() if key.strip().lower() != name}
        if len(kept) == len(known):
            raise Refusal(404, f"{self._kind.noun} not found")
        return kept

    async def _store(self, request: web.Request, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        key = self._kind.key

        def edit(data: dict[str, Any]) -> None:
            found = data.get(key)
            known = dict(found) if isinstance(found, dict) else {}
            wanted = change(known)
            for name in known.keys() - wanted.keys():
                del data[key][name]
            for name, items in wanted.items():
                assign(data, (key, name), items)
            if not wanted and not self._kind.stays:
                data.pop(key, None)

        await self._management.writer.edit(request, edit)


def routes(management: Management) -> list[Route]:
    """Four routes for each map."""
    return [route for kind in MAPS for route in _routes(OAuthModels(management, kind), kind)]


def _routes(resource: OAuthModels, kind: ProviderMap) -> list[Route]:
    items = {"type": "array", "items": kind.item}
    mapping = {"type": "object", "additionalProperties": items}
    shown = {"type": "object", "properties": {kind.key: mapping}, "required": [kind.key]}
    patch = {
        "type": "object",
        "properties": {kind.noun: {"type": "string"}, kind.members[0]: items},
        "required": [kind.noun],
    }
    where = (Query(kind.noun, "Whose list to remove", required=True),)
    path = f"/{kind.key}"
    return [
        Route(method="GET", path=path, handler=resource.get, summary=f"Lists of {kind.key}", answer=shown),
        Route(method="PUT", path=path, handler=resource.put, summary=f"Replace {kind.key}", body=mapping),
        Route(method="PATCH", path=path, handler=resource.patch, summary=f"Set one list of {kind.key}", body=patch),
        Route(method="DELETE", path=path, handler=resource.delete, summary=f"Remove one of {kind.key}", query=where),
    ]
