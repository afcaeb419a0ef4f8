"""``/logs``: the newest lines of the log files, what came since, and clearing them."""

from __future__ import annotations

import asyncio

from aiohttp import web

from cpa.logs.files import clear
from cpa.logs.tail import Tail, follow, read_tail
from cpa.management.answers import Refusal, answer
from cpa.management.route import Query, Route
from cpa.management.services import Management

DEFAULT_LIMIT = 1000
LARGEST_LIMIT = 10_000
_TAG = "Logs"


class Logs:
    """The log files, as far as logging goes to files."""

    def __init__(self, management: Management) -> None:
        self._management = management

    async def get(self, request: web.Request) -> web.Response:
        """Lines newer than ``after``, or since ``cursor``; the last ``limit`` of them."""
        self._refuse_off()
        limit = _limit(request.query.get("limit", "").strip())
        after = request.query.get("after", "").strip()
        since = int(after[:15]) if after.isascii() and after.isdigit() else 0
        folder, cursor = self._management.log_files.folder, request.query.get("cursor", "")
        try:
            if cursor:
                tail = await asyncio.to_thread(follow, folder, cursor, limit)
            else:
                tail = await asyncio.to_thread(read_tail, folder, since, limit)
        except FileNotFoundError:
            tail = Tail([], 0, since)
        except OSError as fault:
            raise Refusal(500, fault.strerror or str(fault)) from None
        shown = {
            "lines": tail.lines,
            "line-count": tail.looked_at,
            "latest-timestamp": tail.latest,
            "next-cursor": tail.cursor,
        }
        return answer(shown | ({"cursor-reset": True} if tail.reset else {}))

    async def delete(self, request: web.Request) -> web.Response:
        """Empty the current file and delete the rotated ones."""
        self._refuse_off()
        folder = self._management.log_files.folder
        if not await asyncio.to_thread(folder.is_dir):
            raise Refusal(404, "log directory not found")
        try:
            removed = await asyncio.to_thread(clear, folder)
        except OSError as fault:
            raise Refusal(500, f"failed to remove logs: {fault.strerror or fault}") from None
        return answer({"success": True, "message": "Logs cleared successfully", "removed": removed})

    def _refuse_off(self) -> None:
        if not self._management.config.logging_to_file:
            raise Refusal(400, "logging to file disabled")


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LIMIT
    digits = text.removeprefix("-").removeprefix("+")
    if not (digits.isascii() and digits.isdigit()):
        raise Refusal(400, "invalid limit: must be a positive integer")
    limit = int(text[:12])
    if limit <= 0:
        raise Refusal(400, "invalid limit: must be greater than zero")
    return min(limit, LARGEST_LIMIT)


def routes(management: Management) -> list[Route]:
    """Both routes."""
    logs = Logs(management)
    shown = {
        "type": "object",
        "properties": {
            "lines": {"type": "array", "items": {"type": "string"}},
            "line-count": {"type": "integer"},
            "latest-timestamp": {"type": "integer"},
            "next-cursor": {"type": "string"},
            "cursor-reset": {"type": "boolean"},
        },
        "required": ["lines", "line-count", "latest-timestamp"],
    }
    cleared = {
        "type": "object",
        "properties": {"success": {"const": True}, "message": {"type": "string"}, "removed": {"type": "integer"}},
        "required": ["success", "removed"],
    }
    query = (
        Query("after", "Unix seconds: only newer lines", {"type": "integer"}),
        Query("limit", f"How many lines, {DEFAULT_LIMIT} unless told", {"type": "integer"}),
        Query("cursor", "``next-cursor`` of an earlier answer: only what came since"),
    )
    return [
        Route(method="GET", path="/logs", handler=logs.get, summary="Log lines", tag=_TAG, query=query, answer=shown),
        Route(method="DELETE", path="/logs", handler=logs.delete, summary="Clear the logs", tag=_TAG, answer=cleared),
    ]
