"""``/request-histories`` and the log files of requests: what was asked and answered, word for word."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import orjson
from aiohttp import web
from msgspec import to_builtins

from cpa.management.answers import Refusal, answer
from cpa.management.route import Query, Route
from cpa.management.services import Management
from cpa.usage.filters import WrongQuery, parse_requests
from cpa.usage.histories import History, error_logs, find_error_log, find_history, history_text
from cpa.usage.history_batches import delete_histories
from cpa.usage.requests import describe_request, list_requests
from cpa.usage.schema import DatabaseTooNew, empty_log
from cpa.usage.store import NotReady, StoreClosed

_TAG = "Requests"
SECTION_PREVIEW = 256 * 1024
HEARTBEAT_SECONDS = 10.0
LONGEST_ID = 160
UNAVAILABLE = "request history store unavailable"
NOT_FOUND = "request history not found for the given request ID"
T = TypeVar("T")


class RequestHistories:
    """Histories, read on connections of their own."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._store = management.usage

    async def list(self, request: web.Request) -> web.Response:
        """Requests, the newest first."""
        try:
            wanted = parse_requests(request.query, request.query.getall("model", []))
        except WrongQuery as fault:
            raise Refusal(400, str(fault)) from None
        empty: list[dict[str, Any]] = []
        rows = await self._read(lambda connection: list_requests(connection, wanted), empty)
        histories = self._management.histories
        told = None if histories is None else to_builtins(histories.status())
        more = f"{rows[-1]['started_ms']}.{rows[-1]['request_id']}" if len(rows) == wanted.limit else ""
        return answer({"requests": rows, "next_cursor": more, "histories": told})

    async def show(self, request: web.Request) -> web.Response:
        """One request: what is known, its attempts, and the sections of its history."""
        identity = _identity(request.match_info["id"])
        shown = await self._read(lambda connection: describe_request(connection, identity), None)
        if shown is None:
            raise Refusal(404, NOT_FOUND)
        if title := request.query.get("section", "").strip():
            return answer(_section(shown, title))
        return answer(shown)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete one history."""
        deleted = await self._write(_identity(request.match_info["id"]))
        if not deleted:
            raise Refusal(404, NOT_FOUND)
        return answer({"status": "ok", "removed": deleted})

    async def delete_all(self, request: web.Request) -> web.Response:
        """Delete every history."""
        return answer({"status": "ok", "removed": await self._write(None)})

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Requests as they begin and finish, a JSON object on each line, until the watcher leaves."""
        exchange = self._management.exchange
        if exchange is None:
            raise Refusal(503, "nothing is served")
        live = exchange.observers.live
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        await response.prepare(request)
        queue = live.watch()
        try:
            await response.write(orjson.dumps({"what": "watching", "running": exchange.observers.running}) + b"\n")
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        event = await queue.get()
                except TimeoutError:
                    await response.write(b"\n")
                    continue
                await response.write(orjson.dumps(event) + b"\n")
                if event["what"] == "stopping":
                    return response
        except ConnectionError:
            return response
        finally:
            live.leave(queue)

    async def error_logs(self, request: web.Request) -> web.Response:
        """Files of failed requests; none while every request is kept."""
        if self._management.config.request_log:
            return answer({"files": []})
        return answer({"files": await self._read(error_logs, [])})

    async def error_log(self, request: web.Request) -> web.Response:
        """One of these files."""
        name = request.match_info["name"]
        if "/" in name or "\\" in name:
            raise Refusal(400, "invalid log file name")
        if not (name.startswith("error-") and name.endswith(".log")):
            raise Refusal(404, "request history not found")
        return await self._download(lambda connection: find_error_log(connection, name), "request history not found")

    async def log_by_id(self, request: web.Request) -> web.Response:
        """The text of one request."""
        identity = _identity(request.match_info.get("id", request.query.get("id", "")))
        return await self._download(lambda connection: find_history(connection, identity), NOT_FOUND)

    async def _download(self, find: Callable[[sqlite3.Connection], History | None], complaint: str) -> web.Response:
        def read(connection: sqlite3.Connection) -> tuple[str, bytes] | None:
            history = find(connection)
            return None if history is None else (history.log_name, history_text(history))

        found = await self._read(read, None)
        if found is None:
            raise Refusal(404, complaint)
        name, text = found
        safe = "".join(character if character.isprintable() and character not in '"\\' else "-" for character in name)
        headers = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Disposition": f'attachment; filename="{safe}"',
        }
        return web.Response(body=text, headers=headers)

    async def _read(self, query: Callable[[sqlite3.Connection], T], empty: T) -> T:
        def read() -> T:
            if (histories := self._management.histories) is not None and not histories.status().reason:
                histories.flush(2.0)
            return self._store.ask(query, empty)

        try:
            return await asyncio.to_thread(read)
        except (sqlite3.Error, NotReady, OSError) as fault:
            raise Refusal(503, UNAVAILABLE, self._why(fault)) from None

    def _why(self, fault: Exception) -> str:
        """Why histories cannot be read, and what waits meanwhile."""
        histories = self._management.histories
        waiting = histories.status().waiting if histories is not None else 0
        return f"request histories cannot be read now: {fault}" + (f"; {waiting} wait in memory" if waiting else "")

    async def _write(self, identity: str | None) -> int:
        def write() -> int:
            if (histories := self._management.histories) is not None:
                histories.flush(2.0)
            if not self._store.path.exists():
                return 0
            deleted = self._store.run(lambda connection: delete_histories(connection, identity))
            empty_log(self._store.path)
            return deleted

        try:
            return await asyncio.to_thread(write)
        except (sqlite3.Error, OSError, DatabaseTooNew, StoreClosed) as fault:
            raise Refusal(503, UNAVAILABLE, str(fault)) from None


def _identity(text: str) -> str:
    identity = text.strip()
    if not identity:
        raise Refusal(400, "missing request ID")
    if "/" in identity or "\\" in identity or len(identity) > LONGEST_ID:
        raise Refusal(400, "invalid request ID")
    return identity


def _section(shown: dict[str, Any], title: str) -> dict[str, Any]:
    """The beginning of one section. Refuses a title that is not there."""
    for section in shown.get("sections", []):
        if section["title"] == title.upper():
            text = section["text"]
            cut = {"text": text[:SECTION_PREVIEW], "truncated": len(text) > SECTION_PREVIEW}
            return {"request_id": shown["request_id"], "title": section["title"], "lines": section["lines"], **cut}
    raise Refusal(404, "section not found", ", ".join(section["title"] for section in shown.get("sections", [])))


def routes(management: Management) -> list[Route]:
    """The routes."""
    histories = RequestHistories(management)
    listed = {
        "type": "object",
        "properties": {
            "requests": {"type": "array", "items": {"type": "object"}},
            "next_cursor": {"type": "string"},
            "histories": {"type": ["object", "null"]},
        },
        "required": ["requests"],
    }
    files = {
        "type": "object",
        "properties": {
            "files": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "size": {"type": "integer"},
                        "modified": {"type": "integer"},
                    },
                    "required": ["name", "size", "modified"],
                },
            }
        },
        "required": ["files"],
    }
    shown = {"type": "object", "properties": {"request_id": {"type": "string"}}, "required": ["request_id"]}
    removed = {
        "type": "object",
        "properties": {"status": {"const": "ok"}, "removed": {"type": "integer"}},
        "required": ["status", "removed"],
    }
    filtered = (
        Query("start_time", "RFC 3339, or Unix seconds or milliseconds"),
        Query("end_time", "RFC 3339, or Unix seconds or milliseconds"),
        Query("model", "As asked for, or the upstream's name; may be repeated"),
        Query("source", "Account, its index, or provider"),
        Query("auth_index", "Index of an account"),
        Query("provider", "Provider"),
        Query("client", "Id of a client key"),
        Query("result", "``success`` or ``failed``", {"type": "string", "enum": ["success", "failed"]}),
        Query("status", "HTTP status", {"type": "integer"}),
        Query(
            "min_latency_ms", "Only those whose last attempt took so long or longer", {"type": "integer", "minimum": 1}
        ),
        Query("request_id", "An id, or its beginning"),
        Query("limit", "At most 1000", {"type": "integer", "minimum": 1}),
        Query("cursor", "The ``next_cursor`` of an earlier answer"),
    )

    def route(method: str, path: str, handler: Any, summary: str, **more: Any) -> Route:
        return Route(method=method, path=path, handler=handler, summary=summary, tag=_TAG, **more)

    text = {"answer": {"type": "string"}, "answer_type": "text/plain"}
    one = "/request-histories/{id}"
    return [
        route("GET", "/request-histories", histories.list, "Requests, the newest first", query=filtered, answer=listed),
        route(
            "GET",
            one,
            histories.show,
            "One request with its attempts and its history",
            query=(Query("section", f"Only this section, at most {SECTION_PREVIEW // 1024} KiB of it"),),
            answer=shown,
            refusals=(400, 404, 503),
        ),
        route("DELETE", "/request-histories", histories.delete_all, "Delete every history", answer=removed),
        route("DELETE", one, histories.delete, "Delete one history", answer=removed, refusals=(400, 404, 503)),
        route(
            "GET",
            "/request-feed",
            histories.watch,
            "Requests as they begin and finish, a JSON object on each line",
            answer={"type": "string"},
            answer_type="application/x-ndjson",
            refusals=(503,),
        ),
        route("GET", "/request-error-logs", histories.error_logs, "Files of failed requests", answer=files),
        route(
            "GET",
            "/request-error-logs/{name}",
            histories.error_log,
            "One file of a failed request",
            refusals=(400, 404, 503),
            **text,
        ),
        route(
            "GET",
            "/request-log-by-id",
            histories.log_by_id,
            "The history of a request as text",
            query=(Query("id", "Its request id", required=True),),
            refusals=(400, 404, 503),
            **text,
        ),
        route(
            "GET",
            "/request-log-by-id/{id}",
            histories.log_by_id,
            "The history of a request as text",
            refusals=(400, 404, 503),
            **text,
        ),
    ]
