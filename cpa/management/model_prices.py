"""``/model-prices``: what models cost, in the shape of CPA-Manager's panel.

Prices that are set here are written into ``prices`` of the configuration; what is read from a published list is kept
beside the usage database; what ships with cpa is shown and cannot be removed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from cpa.exchange.price_fetch import ListUnreadable
from cpa.exchange.price_sync import Proposal, shown_proposal, used_models
from cpa.management.answers import Refusal, answer, member, ok, read_object
from cpa.management.lists import text
from cpa.management.route import STATUS_OK, Query, Route, Schema
from cpa.management.services import Management
from cpa.usage.overview import summary
from cpa.usage.own_prices import own_prices, write_prices
from cpa.usage.price_lists import LITELLM, LONGEST_NAME, SOURCES
from cpa.usage.price_rows import PriceRow, WrongPrice, read_row, shown_row
from cpa.usage.store import NotReady

MOST_MODELS = 10_000
"""Rows in one request."""
_TAG = "Prices"
Rows = Mapping[str, PriceRow]


class ModelPrices:
    """The rows, by the name of the model."""

    def __init__(self, management: Management) -> None:
        self._management = management

    def _rows(self) -> dict[str, PriceRow]:
        return self._management.prices().rows()

    def _own(self) -> dict[str, PriceRow]:
        return own_prices(self._management.config)

    async def get(self, request: web.Request) -> web.Response:
        """``{"prices": {...}, "as_of": "2026-10-07"}``"""
        return answer({"prices": _shown(self._rows()), "as_of": self._management.prices().as_of})

    async def put(self, request: web.Request) -> web.Response:
        """Make the rows these. One that says what is in force already stays where it is."""
        body = member(await read_object(request), "prices", dict)
        if body is None or len(body) > MOST_MODELS:
            raise Refusal(400, "invalid body", f"expected an object prices of at most {MOST_MODELS} models")
        before = self._rows()
        wanted = {(name := _name(model)): _row(name, row, before.get(name)) for model, row in body.items()}
        changed = {name: row for name, row in wanted.items() if not _says(before.get(name), row)}
        gone = self._own().keys() - wanted.keys()
        await self._write(request, changed, gone)
        await self._keep_synced(wanted)
        return ok(prices=_shown(self._rows()))

    async def patch(self, request: web.Request) -> web.Response:
        """Set the price of one model; members that are left out stay as they are."""
        body = await read_object(request)
        model, value = self._selected(body), member(body, "value", dict)
        if value is None:
            raise Refusal(400, "invalid body")
        known = self._management.prices().search(model)
        row = _row(model, value, known.row if known is not None else None)
        await self._write(request, {model: row}, ())
        return ok(entry=shown_row(self._rows()[model]))

    async def delete(self, request: web.Request) -> web.Response:
        """Remove the price of one model that is in force; the answer says which one is now."""
        model = _name(request.query.get("model") or request.query.get("name") or "")
        if model in self._own():
            await self._write(request, {}, (model,))
        elif model in self._management.price_sync.synced.rows:
            await self._keep_synced(self._management.price_sync.synced.rows.keys() - {model})
        else:
            raise Refusal(404, "item not found", "prices that ship with cpa cannot be removed; set another one")
        now = self._rows().get(model)
        return ok(entry=None if now is None else shown_row(now))

    async def sync(self, request: web.Request) -> web.Response:
        """Take prices from a published list, or say with ``preview`` what that would do."""
        body = await read_object(request) if request.can_read_body else {}
        source = text(member(body, "source", str)) or LITELLM
        if source not in SOURCES:
            raise Refusal(400, "invalid source", f"source must be {' or '.join(SOURCES)}")
        preview = bool(_flag(body, "preview") or _flag(body, "dry_run"))
        overwrite = _flag(body, "overwrite_manual")
        models = await self._models(member(body, "models", list) or [])
        try:
            proposals = await self._management.price_sync.propose(models, source, overwrite_manual=overwrite)
        except ListUnreadable as fault:
            raise Refusal(502, "price list unreadable", str(fault)) from None
        after = self._rows()
        if preview:
            after |= {each.model: each.row for each in proposals if each.imported and each.row is not None}
        else:
            await self._take(request, proposals)
            after = self._rows()
        imported = sum(each.imported for each in proposals)
        self._management.log.info("prices synced", source=source, imported=imported, preview=preview)
        return answer(
            {
                "source": source,
                "imported": imported,
                "skipped": len(proposals) - imported,
                "preview": preview,
                "prices": _shown(after),
                "models": [shown_proposal(each) for each in proposals],
            }
        )

    async def _models(self, given: list[Any]) -> list[str]:
        """The models that are named, else those that were ever used."""
        if len(given) > MOST_MODELS or not all(isinstance(model, str) for model in given):
            raise Refusal(400, "invalid body", f"expected a list models of at most {MOST_MODELS} names")
        named = [_name(model) for model in given]
        if named:
            return named
        try:
            rows = await asyncio.to_thread(self._management.usage.ask, lambda c: summary(c, "model"), [])
        except (NotReady, sqlite3.Error) as fault:
            raise Refusal(503, "usage not ready", f"the models in use cannot be listed: {fault}") from None
        return used_models(rows)

    async def _take(self, request: web.Request, proposals: list[Proposal]) -> None:
        own = self._own()
        replaced = {each.before.name for each in proposals if each.imported and each.before is not None}
        try:
            await self._management.price_sync.take(proposals)
        except OSError as fault:
            raise _unsaved(fault) from None
        if gone := replaced & own.keys():
            await self._write(request, {}, gone)

    async def _write(self, request: web.Request, changed: Rows, gone: Iterable[str]) -> None:
        """Set and remove prices of the configuration."""
        gone = set(gone)
        if not changed and not gone:
            return
        await self._management.writer.edit(request, lambda data: write_prices(data, changed, gone))

    async def _keep_synced(self, models: Iterable[str]) -> None:
        """Drop every row of lists but those of these models."""
        kept = frozenset(models)
        try:
            await self._management.price_sync.change(
                lambda rows: {model: row for model, row in rows.items() if model in kept}
            )
        except OSError as fault:
            raise _unsaved(fault) from None

    @staticmethod
    def _selected(body: Mapping[str, Any]) -> str:
        given = next((body[name] for name in ("model", "name", "match") if body.get(name)), "")
        return _name(given)


def _unsaved(fault: OSError) -> Refusal:
    return Refusal(500, "prices cannot be saved", fault.strerror or str(fault))


def _name(model: Any) -> str:
    name = text(model)
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Refusal(400, "invalid model", f"the name of a model is needed, of at most {LONGEST_NAME} characters")
    return name


def _row(model: str, body: Any, known: PriceRow | None) -> PriceRow:
    try:
        return read_row(body, known)
    except WrongPrice as fault:
        raise Refusal(400, "invalid price", f"{model}: {fault}") from None


def _says(known: PriceRow | None, row: PriceRow) -> bool:
    return known is not None and (known.price, known.style) == (row.price, row.style)


def _flag(body: Mapping[str, Any], name: str) -> bool:
    return bool(member(body, name, bool))


def _shown(rows: Rows) -> dict[str, Any]:
    return {model: shown_row(row) for model, row in rows.items()}


def routes(management: Management) -> list[Route]:
    """The five routes."""
    prices = ModelPrices(management)
    entry = {"type": "object", "properties": {**STATUS_OK["properties"], "entry": _ROW}, "required": ["status"]}
    patch = {
        "type": "object",
        "properties": {"model": {"type": "string"}, "value": _ROW},
        "required": ["model", "value"],
    }
    flag = {"type": "boolean"}
    wanted = {
        "type": "object",
        "properties": {
            "models": {"type": "array", "items": {"type": "string"}},
            "source": {"type": "string", "enum": list(SOURCES)},
            "preview": flag,
            "overwrite_manual": flag,
        },
    }
    count = {"type": "integer"}
    synced = {
        "type": "object",
        "properties": {
            "source": {"type": "string"},
            "imported": count,
            "skipped": count,
            "preview": flag,
            **_ROWS["properties"],
            "models": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["source", "imported", "skipped", "prices", "models"],
    }
    path, conflicts = "/model-prices", (400, 409, 412)
    return [
        Route(method="GET", path=path, handler=prices.get, summary="Prices in force", tag=_TAG, answer=_ROWS),
        Route(
            method="PUT",
            path=path,
            handler=prices.put,
            summary="Replace the prices",
            tag=_TAG,
            body=_ROWS,
            answer=_ROWS,
            refusals=conflicts,
        ),
        Route(
            method="PATCH",
            path=path,
            handler=prices.patch,
            summary="Set the price of a model",
            tag=_TAG,
            body=patch,
            answer=entry,
            refusals=conflicts,
        ),
        Route(
            method="DELETE",
            path=path,
            handler=prices.delete,
            summary="Remove the price of a model",
            tag=_TAG,
            query=(Query("model", "Its name", required=True),),
            answer=entry,
            refusals=conflicts,
        ),
        Route(
            method="POST",
            path=f"{path}/sync",
            handler=prices.sync,
            summary="Take prices from a published list",
            tag=_TAG,
            body=wanted,
            answer=synced,
            refusals=(*conflicts, 502, 503),
        ),
    ]


_PRICE: Schema = {"type": "number", "minimum": 0}
_PERHAPS: Schema = {"type": ["number", "null"], "minimum": 0}
_PARTS: Schema = {
    "prompt": _PRICE,
    "completion": _PRICE,
    "cache_read": _PERHAPS,
    "cache_write": _PERHAPS,
    "cache_write_1h": _PERHAPS,
}
_ROW: Schema = {
    "type": ["object", "null"],
    "properties": {
        **_PARTS,
        "cache": _PERHAPS,
        "multiplier": _PRICE,
        "style": {"type": "string"},
        "above": {"type": ["object", "null"], "properties": {"tokens": {"type": "integer"}, **_PARTS}},
        "source": {"type": "string"},
        "sourceModelId": {"type": "string"},
        "updatedAtMs": {"type": "integer"},
        "syncedAtMs": {"type": "integer"},
    },
}
_ROWS: Schema = {
    "type": "object",
    "properties": {"prices": {"type": "object", "additionalProperties": _ROW}},
    "required": ["prices"],
}
