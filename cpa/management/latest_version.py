"""``GET /latest-version``: what has been released. cpa asks nobody unless it is told where to look."""

from __future__ import annotations

import time
from typing import Any

import orjson
from aiohttp import web

from cpa import __version__
from cpa.errors import UpstreamError
from cpa.management.answers import Refusal, answer
from cpa.management.route import Route
from cpa.management.services import Management

CACHE_SECONDS = 600.0
SHOWN_BYTES = 1024


class LatestVersion:
    """Asks the releases page that ``remote-management.releases-url`` names, at most every ten minutes."""

    def __init__(self, management: Management) -> None:
        self._management = management
        self._asked = ("", 0.0)
        self._result: str | Refusal = ""

    async def get(self, request: web.Request) -> web.Response:
        """``{"latest-version": "v1.2.3"}``; this version when nobody is to be asked."""
        url = self._management.config.remote_management.releases_url
        if not url:
            return answer({"latest-version": __version__})
        now = time.monotonic()
        if self._asked[0] != url or now - self._asked[1] > CACHE_SECONDS:
            try:
                self._result = await self._ask(url)
            except Refusal as refusal:
                self._result = refusal
            self._asked = (url, now)
        if isinstance(self._result, Refusal):
            body = self._result.body
            raise Refusal(self._result.status, body["error"], body.get("message", ""))
        return answer({"latest-version": self._result})

    async def _ask(self, url: str) -> str:
        headers = {"Accept": "application/vnd.github+json", "User-Agent": f"cpa/{__version__}"}
        try:
            status, _, body = await self._management.client.request("GET", url, headers=headers, timeout=10.0)
        except UpstreamError as fault:
            raise Refusal(502, "request_failed", fault.error.message) from None
        if status != 200:
            shown = body[:SHOWN_BYTES].decode("utf-8", "replace")
            raise Refusal(502, "unexpected_status", f"status {status}: {shown}")
        try:
            release: Any = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise Refusal(502, "decode_failed", "the answer is not JSON") from None
        names = (release.get("tag_name"), release.get("name")) if isinstance(release, dict) else ()
        for name in names:
            if isinstance(name, str) and name.strip():
                return name.strip()
        raise Refusal(502, "invalid_response", "missing release version")


def routes(management: Management) -> list[Route]:
    """The one route."""
    shown = {"type": "object", "properties": {"latest-version": {"type": "string"}}, "required": ["latest-version"]}
    return [
        Route(
            method="GET",
            path="/latest-version",
            handler=LatestVersion(management).get,
            summary="The newest release",
            tag="Daemon",
            answer=shown,
            refusals=(502,),
        )
    ]
