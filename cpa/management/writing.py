"""Changes to the configuration file through the API: written, in force, and only then answered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from aiohttp import hdrs, web

from cpa.config import ConfigStore
from cpa.config.file import ConfigBusy, ConfigConflict, ConfigFile
from cpa.config.notices import ConfigWarning, migrate, new_warnings
from cpa.errors import ConfigError
from cpa.management.answers import Refusal

Change: TypeAlias = Callable[[dict[str, Any]], None]
"""Alters the file's data in place, keys as they are named today; may raise Refusal, and then nothing is written."""


WARNINGS = web.RequestKey("warnings", list[ConfigWarning])
"""On a request that has written: what is doubtful about what it wrote."""


class ConfigWriter:
    """Edits the file of a store. Edits wait for one another; each is applied to the newest text of the file."""

    def __init__(self, store: ConfigStore) -> None:
        self._store = store
        self._file = ConfigFile(store.path)
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[list[ConfigWarning]]] = set()

    async def edit(self, request: web.Request, change: Change) -> None:
        """Apply a change; the new configuration is in force when this returns.

        A client that goes away does not stop it half-way. Raises Refusal: 412 when ``If-Match`` names another state
        of the file, 409 when others keep saving it, 400 when the result would not be valid, 500 when the file cannot
        be written.
        """
        expected = if_match(request)

        def with_present_names(data: dict[str, Any]) -> None:
            present, _ = migrate(data)
            change(present)
            data.clear()
            data.update(present)

        await self._finish(request, lambda: self._file.edit(with_present_names, expected=expected))

    async def replace(self, request: web.Request, content: bytes) -> None:
        """Replace the whole file. Raises like :meth:`edit`."""
        expected = if_match(request)
        await self._finish(request, lambda: self._file.replace(content, expected=expected))

    async def _finish(self, request: web.Request, write: Callable[[], str]) -> None:
        task = asyncio.create_task(self._write(write))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        request[WARNINGS] = await asyncio.shield(task)

    async def _write(self, write: Callable[[], str]) -> list[ConfigWarning]:
        """Write and put in force; the warnings that were not there before."""
        async with self._lock:
            try:
                await asyncio.to_thread(write)
                loaded = await asyncio.to_thread(self._store.read_if_changed)
            except ConfigConflict as fault:
                raise Refusal(412, "precondition_failed", str(fault)) from None
            except ConfigBusy as fault:
                raise Refusal(409, "conflict", str(fault)) from None
            except ConfigError as fault:
                raise Refusal(400, "invalid_config", str(fault)) from None
            except OSError as fault:
                raise Refusal(500, f"failed to save config: {fault.strerror or fault}") from None
            if loaded is None:
                return []
            before = self._store.loaded.warnings
            self._store.swap(loaded)
            return new_warnings(before, loaded.warnings)

    async def drain(self) -> None:
        """Wait for edits that are under way."""
        await asyncio.gather(*self._running, return_exceptions=True)


def etag(store: ConfigStore) -> str:
    """The entity tag of the configuration in force."""
    return f'"{store.loaded.digest}"'


def if_match(request: web.Request) -> str | None:
    """The file's SHA-256 that the client has seen last, from ``If-Match``; None when it does not care."""
    value = request.headers.get(hdrs.IF_MATCH, "").strip()
    if not value or value == "*":
        return None
    return value.removeprefix("W/").strip('"')
