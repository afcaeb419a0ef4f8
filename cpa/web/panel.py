"""``/management.html``: the owner's copy of a web panel, or a page that says how to get one. Nothing is downloaded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from string import Template

from aiohttp import hdrs, web

from cpa.config import Config

FILE_NAME = "management.html"
VARIABLE = "MANAGEMENT_STATIC_PATH"
LARGEST_PANEL = 50 * 1024 * 1024
_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_USUAL = "http://127.0.0.1:8317"
_ON = "The management API is on: it wants the management key."
_OFF = (
    "The management API is off. To turn it on, set <code>secret-key</code> under <code>remote-management</code> in "
    "<code>config.yaml</code>; it counts at once."
)
_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    hdrs.CACHE_CONTROL: "no-cache",
}
_OWN = {
    **_COMMON,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'",
}
_PANEL = {
    **_COMMON,
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'none'; object-src 'none'",
}
"""A panel is one file with its scripts inside and may talk to another daemon: only what it cannot need is forbidden."""


class ControlPanel:
    """Serves the page. ``environ`` may name the panel's file or folder in ``MANAGEMENT_STATIC_PATH``."""

    def __init__(
        self, config: Callable[[], Config], config_path: Path, environ: Mapping[str, str], enabled: Callable[[], bool]
    ) -> None:
        """``enabled`` tells whether there is a management API."""
        self._config = config
        self._enabled = enabled
        named = environ.get(VARIABLE, "").strip()
        place = Path(named).expanduser() if named else config_path.absolute().parent / "static"
        self._file = place if place.suffix.lower() in (".html", ".htm") else place / FILE_NAME

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Mount the page and the style sheet of our own one."""
        router.add_get(f"/{FILE_NAME}", self.page)
        router.add_get("/management.css", self.style)

    async def page(self, request: web.Request) -> web.Response:
        """The panel, or what to do without one; 404 where the owner wants no panel."""
        if self._config().remote_management.disable_control_panel:
            raise web.HTTPNotFound
        content = await asyncio.to_thread(self._panel)
        if content is None:
            return self._without_panel(request)
        tag = f'"{sha256(content).hexdigest()[:32]}"'
        if tag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers={**_PANEL, hdrs.ETAG: tag})
        return web.Response(body=content, content_type="text/html", charset="utf-8", headers={**_PANEL, hdrs.ETAG: tag})

    async def style(self, request: web.Request) -> web.Response:
        """The style sheet of the page without a panel."""
        if self._config().remote_management.disable_control_panel:
            raise web.HTTPNotFound
        return web.Response(text=_shipped("no_panel.css"), content_type="text/css", headers=_OWN)

    def _panel(self) -> bytes | None:
        try:
            if self._file.stat().st_size > LARGEST_PANEL:
                return None
            return self._file.read_bytes()
        except OSError:
            return None

    def _without_panel(self, request: web.Request) -> web.Response:
        page = Template(_shipped("no_panel.html")).substitute(
            state=_ON if self._enabled() else _OFF,
            origin=f"{request.scheme}://{request.host}" if _HOST.fullmatch(request.host) else _USUAL,
        )
        return web.Response(text=page, content_type="text/html", charset="utf-8", headers=_OWN)


def _shipped(name: str) -> str:
    return files("cpa.web").joinpath(name).read_text(encoding="utf-8")
