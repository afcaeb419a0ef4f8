"""``POST /model-prices/revalue``: put the prices in force on what was recorded before."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from cpa.management.answers import Refusal, answer, member, read_object
from cpa.management.route import Route
from cpa.management.services import Management
from cpa.usage.filters import WrongQuery, parse_events
from cpa.usage.revaluation import Revaluation, begin, go_on, preview, shown
from cpa.usage.schema import DatabaseTooNew
from cpa.usage.store import NotReady, StoreClosed


class PriceRevaluation:
    """One revaluation at a time, in small transactions of the writer, between what it writes anyway."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._running = False

    async def revalue(self, request: web.Request) -> web.Response:
        """Compute the costs anew; the answer comes when it is done."""
        body = await read_object(request) if request.can_read_body else {}
        since_ms, dry = _since(body), bool(member(body, "preview", bool))
        if self._running:
            raise Refusal(409, "busy", "costs are being computed anew already")
        self._running = True
        try:
            done = await self._run(since_ms, write=not dry)
        except (NotReady, StoreClosed) as fault:
            raise Refusal(503, "usage not ready", str(fault)) from None
        except (sqlite3.Error, OSError, DatabaseTooNew) as fault:
            raise Refusal(500, f"failed to compute costs: {fault}") from None
        finally:
            self._running = False
        if not dry:
            self._management.log.info("costs computed anew", attempts=done.attempts, changed=done.changed)
        return answer(shown(done, dry_run=dry))

    async def _run(self, since_ms: int, *, write: bool) -> Revaluation:
        store, prices = self._management.usage, self._management.prices
        if not write:
            return await asyncio.to_thread(store.ask, lambda c: preview(c, prices(), since_ms), Revaluation())
        done = await asyncio.to_thread(store.ask, lambda c: begin(c, since_ms), None)
        if done is None:
            return Revaluation()
        while await asyncio.to_thread(store.run, lambda c: go_on(c, done, prices(), since_ms)):
            pass
        return done


def _since(body: Mapping[str, Any]) -> int:
    """The moment that ``since`` names, in one of the ways that usage is asked for; 0 without one."""
    since = body.get("since")
    if since is None:
        return 0
    if isinstance(since, bool) or not isinstance(since, str | int | float):
        raise Refusal(400, "invalid since")
    try:
        return parse_events({"start_time": str(since)}).start_ms or 0
    except WrongQuery:
        raise Refusal(400, "invalid since", "RFC 3339, or Unix seconds or milliseconds") from None


def routes(management: Management) -> list[Route]:
    """The one route."""
    count, flag = {"type": "integer"}, {"type": "boolean"}
    told = {
        "attempts": count,
        "changed": count,
        "unpriced": count,
        "before_nanos": count,
        "after_nanos": count,
        "before_usd": {"type": "number"},
        "after_usd": {"type": "number"},
        "preview": flag,
    }
    body = {"type": "object", "properties": {"since": {"type": ["string", "number"]}, "preview": flag}}
    return [
        Route(
            method="POST",
            path="/model-prices/revalue",
            handler=PriceRevaluation(management).revalue,
            summary="Put the prices in force on what was recorded before",
            tag="Prices",
            body=body,
            answer={"type": "object", "properties": told, "required": list(told)},
            refusals=(400, 409, 503),
        )
    ]
