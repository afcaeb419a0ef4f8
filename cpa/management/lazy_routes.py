"""Routes that are made when the first request below their prefix comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, NoReturn

from aiohttp import web
from aiohttp.web_urldispatcher import UrlMappingMatchInfo


class LazyRoutes(web.AbstractResource):
    """Stands in a router for all routes below a prefix, until they are needed in a router of their own."""

    def __init__(self, prefix: str, make: Callable[[web.UrlDispatcher], None], needs: str) -> None:
        """``make`` adds the routes, whose paths begin with ``prefix``. ``needs`` is a module it takes long to load."""
        super().__init__()
        self._prefix = prefix
        self._make = make
        self._needs = needs
        self._made: web.UrlDispatcher | None = None

    @property
    def canonical(self) -> str:
        """The prefix."""
        return self._prefix

    async def resolve(self, request: web.Request) -> tuple[UrlMappingMatchInfo | None, set[str]]:
        """The route for a request, or the methods that its path has."""
        if self._made is None:  # streams go on while modules load
            await asyncio.to_thread(import_module, self._needs)
        match = await self._router.resolve(request)
        refused = match.http_exception
        if refused is None:
            return match, set()
        return None, set(refused.allowed_methods) if isinstance(refused, web.HTTPMethodNotAllowed) else set()

    @property
    def _router(self) -> web.UrlDispatcher:
        if self._made is None:
            self._made = web.UrlDispatcher()
            self._make(self._made)
            self._made.freeze()
        return self._made

    def __len__(self) -> int:
        return len(self._router.routes())

    def __iter__(self) -> Iterator[web.AbstractRoute]:
        return iter(self._router.routes())

    def get_info(self) -> Any:
        """For listings of a router's resources."""
        return {"prefix": self._prefix}

    def raw_match(self, path: str) -> bool:
        """Whether routes may be added for this path: they cannot."""
        return False

    def url_for(self, **parts: str) -> NoReturn:
        """No address belongs to a prefix."""
        raise RuntimeError("routes below a prefix have addresses, the prefix has none")

    def add_prefix(self, prefix: str) -> NoReturn:
        """The prefix stays as it is."""
        raise RuntimeError("these routes belong to no other application")
