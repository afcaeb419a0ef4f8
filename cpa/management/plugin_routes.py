"""Routes that plugins add below ``/v0/management``."""

from __future__ import annotations

from aiohttp import hdrs, web

from cpa.management.route import Route
from cpa.management.services import Management
from cpa.plugins.described import description_of

TAG = "Plugins"
PREFIX = "/v0/management"


def routes(management: Management) -> list[Route]:
    """The routes of every plugin; one that names a path of cpa's own is left out by the router's order."""
    foreign = web.UrlDispatcher()
    for add in management.plugins.implementations("cpa_management_routes"):
        add(router=foreign)
    found = []
    for entry in foreign.routes():
        if entry.resource is None or entry.method == hdrs.METH_HEAD:
            continue
        told = description_of(entry.handler, entry.method)
        found.append(
            Route(
                method=entry.method,
                path="/" + entry.resource.canonical.removeprefix(PREFIX).lstrip("/"),
                handler=entry.handler,
                summary=told.summary,
                tag=TAG,
                body=told.body,
                answer=told.answer,
                refusals=told.refusals,
            )
        )
    return found
