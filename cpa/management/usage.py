"""``/usage``: what was asked of whom, and what it cost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aiohttp import web
from msgspec import to_builtins

from cpa.management.answers import Refusal, answer, read_body
from cpa.management.route import Query, Route
from cpa.management.services import Management
from cpa.usage.export import export_csv, export_json, export_jsonl
from cpa.usage.filters import EventFilter, WrongQuery, parse_events
from cpa.usage.overview import GROUPS, no_overview, overview
from cpa.usage.queries import events_page, facets
from cpa.usage.schema import DatabaseTooNew, open_for_reading
from cpa.usage.store import NotReady, StoreClosed
from cpa.usage.transfer import WrongImport, import_json

LARGEST_IMPORT = 256 * 1024 * 1024
_TAG = "Usage"
_FORMATS: dict[str, tuple[Callable[[sqlite3.Connection, EventFilter], Iterator[bytes]], str, str]] = {
    "json": (export_json, "application/json", "usage.json"),
    "jsonl": (export_jsonl, "application/x-ndjson", "usage-events.jsonl"),
    "csv": (export_csv, "text/csv", "usage-events.csv"),
}


class UsageResource:
    """The durable record, read on connections of its own."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._store = management.usage
        self._histories = management.histories

    async def overview(self, request: web.Request) -> web.Response:
        """Totals by client and model, by day and hour."""
        wanted, zone = _filter(request), _zone(request)
        details = request.query.get("details", request.query.get("include_details", "1")).lower() not in ("0", "false")
        groups = _groups(request)
        found = await self._read(
            lambda c: overview(c, wanted.start_ms, wanted.end_ms, details=details, zone=zone, group_by=groups),
            no_overview(),
        )
        return answer(found)

    async def events(self, request: web.Request) -> web.Response:
        """One page of attempts."""
        wanted = _filter(request)
        empty: dict[str, Any] = {
            "events": [],
            "models": [],
            "sources": [],
            "auth_indexes": [],
            "api_group_keys": [],
            "total_count": 0,
            "page": wanted.page,
            "page_size": wanted.page_size,
            "total_pages": 0,
            "next_cursor": "",
        }
        return answer(await self._read(lambda connection: events_page(connection, wanted), empty))

    async def filters(self, request: web.Request) -> web.Response:
        """What there is to filter by within a range of time."""
        wanted = _filter(request)
        empty: dict[str, list[str]] = {"models": [], "sources": [], "auth_indexes": [], "api_group_keys": []}
        what = "list usage event filters"
        return answer(await self._read(lambda c: facets(c, wanted.start_ms, wanted.end_ms), empty, what))

    async def status(self, request: web.Request) -> web.Response:
        """How the record itself fares."""
        histories = self._histories
        return answer(
            to_builtins(self._store.status())
            | {"histories": None if histories is None else to_builtins(histories.status())}
        )

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Every attempt, as JSON, JSON lines or CSV."""
        wanted, name = _filter(request), request.query.get("format", "json").lower()
        if name not in _FORMATS:
            raise Refusal(400, "format must be json, jsonl or csv")
        make, kind, file_name = _FORMATS[name]
        await asyncio.to_thread(self._store.flush)
        headers = {"Content-Type": kind, "Content-Disposition": f'attachment; filename="{file_name}"'}
        response = web.StreamResponse(headers=headers)
        response.headers["Cache-Control"] = "no-store"
        await response.prepare(request)
        if self._store.path.exists():
            await self._stream(response, make, wanted)
        elif name == "json":
            await response.write(b'{"version":1,"usage":{"apis":{}}}')
        await response.write_eof()
        return response

    async def _stream(
        self,
        response: web.StreamResponse,
        make: Callable[[sqlite3.Connection, EventFilter], Iterator[bytes]],
        wanted: EventFilter,
    ) -> None:
        """Write the pieces as they are made, each in a thread; never more than one in memory."""
        connection = await asyncio.to_thread(open_for_reading, self._store.path)
        try:
            pieces = make(connection, wanted)
            while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                await response.write(piece)
        finally:
            await asyncio.to_thread(connection.close)

    async def import_(self, request: web.Request) -> web.Response:
        """Take an export of cpa or CLIProxyAPI; what is there already is skipped."""
        content = await read_body(request, LARGEST_IMPORT)
        providers = {account.provider for account in self._management.pool}
        try:
            done = await asyncio.to_thread(import_json, self._store.run, content, providers)
        except WrongImport as fault:
            raise Refusal(400, str(fault)) from None
        except StoreClosed as fault:
            raise Refusal(503, str(fault)) from None
        except (sqlite3.Error, OSError, DatabaseTooNew) as fault:
            raise Refusal(500, f"failed to import usage: {fault}") from None
        totals = await self._read(lambda c: overview(c, details=False), no_overview())
        return answer(
            {
                "added": done.added,
                "skipped": done.skipped,
                "failed": done.failed,
                "total_requests": totals["usage"]["total_requests"],
                "failed_requests": totals["failed_requests"],
            }
        )

    async def _read(
        self, query: Callable[[sqlite3.Connection], Any], empty: Any, what: str = "load usage statistics"
    ) -> Any:
        """The answer of a query with everything in it that was recorded before; ``empty`` when nothing ever was."""
        try:
            return await asyncio.to_thread(self._store.ask, query, empty)
        except NotReady as fault:
            raise Refusal(503, f"failed to {what}: {fault}") from None
        except sqlite3.Error as fault:
            raise Refusal(500, f"failed to {what}: {fault}") from None


def _zone(request: web.Request) -> ZoneInfo | None:
    name = request.query.get("tz", "").strip()
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Refusal(400, "tz must be the name of a time zone") from None


def _groups(request: web.Request) -> list[str]:
    names = [name.strip() for each in request.query.getall("group_by", []) for name in each.split(",") if name.strip()]
    if unknown := [name for name in names if name not in GROUPS]:
        raise Refusal(400, f"group_by cannot be {unknown[0][:40]!r}: it may be {', '.join(GROUPS)}")
    return list(dict.fromkeys(names))


def _filter(request: web.Request) -> EventFilter:
    try:
        return parse_events(request.query, request.query.getall("model", []))
    except WrongQuery as fault:
        raise Refusal(400, str(fault)) from None


def routes(management: Management) -> list[Route]:
    """The routes."""
    usage = UsageResource(management)
    times = (
        Query("start_time", "RFC 3339, or Unix seconds or milliseconds"),
        Query("end_time", "RFC 3339, or Unix seconds or milliseconds"),
    )
    filtered = (
        *times,
        Query("model", "May be repeated"),
        Query("source", "Account, its index, or provider"),
        Query("auth_index", "Index of an account"),
        Query("result", "``success`` or ``failed``", {"type": "string", "enum": ["success", "failed"]}),
        Query("provider", "Provider"),
        Query("api_group_key", "Client key's id, or provider when there is no key"),
        Query("status_code", "HTTP status of the attempt", {"type": "integer"}),
        Query("min_latency_ms", "Only what took so long or longer", {"type": "integer", "minimum": 1}),
        Query("request_id", "Attempts of one request"),
    )
    paged = (
        Query("page", "From 1", {"type": "integer", "minimum": 1}),
        Query("page_size", "At most 1000", {"type": "integer", "minimum": 1}),
        Query("cursor", "``next_cursor`` of the page before, instead of ``page``"),
    )
    totals = {
        "type": "object",
        "properties": {"usage": {"type": "object"}, "failed_requests": {"type": "integer"}},
        "required": ["usage", "failed_requests"],
    }
    events = {
        "type": "object",
        "properties": {"events": {"type": "array", "items": {"type": "object"}}, "total_count": {"type": "integer"}},
        "required": ["events", "total_count", "page", "page_size", "total_pages"],
    }
    lists = {"type": "array", "items": {"type": "string"}}
    facets = {
        "type": "object",
        "properties": {"models": lists, "sources": lists, "auth_indexes": lists},
        "required": ["models", "sources", "auth_indexes"],
    }
    imported = {
        "type": "object",
        "properties": {"added": {"type": "integer"}, "skipped": {"type": "integer"}, "failed": {"type": "integer"}},
        "required": ["added", "skipped", "total_requests", "failed_requests"],
    }
    details = (
        *times,
        Query("details", "``0`` leaves the details out"),
        Query("tz", "Time zone of days and hours, the machine's unless told"),
        Query("group_by", "Adds ``groups``: totals by these columns, separated by commas"),
    )
    whole = {"type": "object"}
    return [
        Route(
            method="GET",
            path=path,
            handler=usage.overview,
            summary="Totals of usage",
            tag=_TAG,
            query=details,
            answer=totals,
        )
        for path in ("/usage", "/usage/overview")
    ] + [
        Route(
            method="GET",
            path="/usage/events",
            handler=usage.events,
            summary="Attempts, the newest first",
            tag=_TAG,
            query=(*filtered, *paged),
            answer=events,
        ),
        Route(
            method="GET",
            path="/usage/events/filters",
            handler=usage.filters,
            summary="What attempts can be filtered by",
            tag=_TAG,
            query=times,
            answer=facets,
        ),
        Route(
            method="GET",
            path="/usage/status",
            handler=usage.status,
            summary="The record itself",
            tag=_TAG,
            answer=whole,
        ),
        Route(
            method="GET",
            path="/usage/export",
            handler=usage.export,
            summary="Every attempt as a file",
            tag=_TAG,
            query=(*filtered, Query("format", "``json``, ``jsonl`` or ``csv``")),
            answer=whole,
        ),
        Route(
            method="POST",
            path="/usage/import",
            handler=usage.import_,
            summary="Take in an export",
            tag=_TAG,
            body=whole,
            answer=imported,
            refusals=(400, 413),
        ),
    ]
