"""The key lists of providers: ``/gemini-api-key``, ``/claude-api-key``, ``/codex-api-key``, ``/vertex-api-key``."""

from __future__ import annotations

from typing import Any, ClassVar

from aiohttp import web

from cpa.config.provider_sections import Compatibility as CompatibilitySection
from cpa.config.provider_sections import KeyEntry
from cpa.management.answers import Refusal
from cpa.management.entries import tidy_entry
from cpa.management.list_resource import ListResource
from cpa.management.lists import not_found, text
from cpa.management.route import Query, Route, schema_of
from cpa.management.services import Management
from cpa.management.shown import shown_entries


class ProviderKeys(ListResource):
    """One list of keys; answers carry the ``auth-index`` of each."""

    identity = "api-key"
    item_schema: ClassVar[dict[str, Any]] = schema_of(KeyEntry)
    deleting: ClassVar[tuple[str, ...]] = ()
    """Members whose emptiness in a ``PATCH`` removes the entry."""
    needed: ClassVar[str] = ""
    """Entries without this member are dropped, or refused where ``strict``."""
    strict: ClassVar[bool] = False
    unique: ClassVar[bool] = False
    """Of entries with equal key and base URL only the first stays."""

    def shown(self) -> list[Any]:
        """The entries."""
        return shown_entries(self.management.config, self.key, self.management.pool)

    def changed(self, known: dict[str, Any], value: dict[str, Any]) -> dict[str, Any] | None:
        """Members that are given replace; an emptied identity removes."""
        if any(name in value and not text(value[name]) for name in self.deleting):
            return None
        return tidy_entry({**known, **value})

    def tidy(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Entries trimmed; those without what they need left out."""
        kept: list[dict[str, Any]] = []
        for position, item in enumerate(items):
            entry = tidy_entry(item)
            if entry.get(self.needed) or not self.needed:
                kept.append(entry)
            elif self.strict:
                raise Refusal(400, f"{self.key}[{position}].{self.needed} is required", code="missing_member")
        return self.collapsed(kept)

    def collapsed(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Of entries with equal key and base URL only the first, where they must be unique."""
        if not self.unique:
            return items
        first: dict[tuple[str, str], dict[str, Any]] = {}
        for item in items:
            first.setdefault((text(item.get("api-key")), _url(item.get("base-url"))), item)
        return list(first.values())

    def without(self, items: list[Any], request: web.Request) -> list[Any]:
        """By key and, when several share it, base URL; or by position."""
        key, base_url = text(request.query.get("api-key")), request.query.get("base-url")
        if not key:
            return super().without(items, request)

        def goes(item: dict[str, Any]) -> bool:
            same_key = text(item.get("api-key")) == key
            return same_key and (base_url is None or _url(item.get("base-url")) == _url(base_url))

        going = sum(map(goes, items))
        if not going:
            raise not_found()
        if base_url is None and going > 1:
            raise Refusal(400, "multiple items match api-key; base-url is required")
        return [item for item in items if not goes(item)]

    def routes(self) -> list[Route]:
        """The four routes."""
        *others, delete = super().routes()
        delete.query = (*delete.query, Query("base-url", "The entry's base URL, when several share the key"))
        return [*others, delete]


def _url(value: Any) -> str:
    return text(value).rstrip("/")


class GeminiKeys(ProviderKeys):
    """``/gemini-api-key``"""

    key = "gemini-api-key"
    deleting = ("api-key",)
    needed = "api-key"
    unique = True


class ClaudeKeys(ProviderKeys):
    """``/claude-api-key``"""

    key = "claude-api-key"


class CodexKeys(ProviderKeys):
    """``/codex-api-key``"""

    key = "codex-api-key"
    deleting = ("base-url",)
    needed = "base-url"


class VertexKeys(ProviderKeys):
    """``/vertex-api-key``"""

    key = "vertex-api-key"
    deleting = ("api-key", "base-url")
    needed = "api-key"
    strict = True
    unique = True


class Compatibility(ProviderKeys):
    """``/openai-compatibility``: providers that speak Chat Completions."""

    key = "openai-compatibility"
    item_schema = schema_of(CompatibilitySection)
    identity = "name"
    selector = "name"
    deleting = ("base-url",)
    needed = "base-url"

    def without(self, items: list[Any], request: web.Request) -> list[Any]:
        """By name or position."""
        return ListResource.without(self, items, request)


def routes(management: Management) -> list[Route]:
    """Four routes for each list."""
    kinds = (GeminiKeys, ClaudeKeys, CodexKeys, VertexKeys, Compatibility)
    return [route for kind in kinds for route in kind(management).routes()]
