"""Notice changes of the configuration file and of the auth directory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from watchfiles import awatch

from cpa.config.store import ConfigStore
from cpa.errors import ConfigError

DEBOUNCE_MS = 150
POLL_SECONDS = 5.0
"""Safety net where the kernel reports nothing (network and bind mounts)."""


class ConfigWatcher:
    """Reloads the store when its file changes; watches the folder, so that rename-over saves are seen.

    ``reloaded`` is called after every reload that brought a new snapshot.
    """

    def __init__(self, store: ConfigStore, log: Any, reloaded: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._log = log
        self._reloaded = reloaded
        self._complaint = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch())
            group.create_task(self._poll())

    def check(self) -> None:
        """Reload now if the file changed; a wrong file is logged once and changes nothing."""
        try:
            changed = self._store.reload()
        except ConfigError as fault:
            if str(fault) != self._complaint:
                self._complaint = str(fault)
                self._log.error("configuration not applied, the old one stays", reason=str(fault))
            return
        self._complaint = ""
        if changed:
            self._reloaded()

    async def _watch(self) -> None:
        folder = self._store.path.absolute().parent
        while True:
            try:
                async for _ in awatch(
                    folder,
                    watch_filter=self._concerns,
                    debounce=DEBOUNCE_MS,
                    step=50,
                    recursive=False,
                    yield_on_timeout=False,
                ):
                    self.check()
            except (OSError, RuntimeError) as fault:
                self._log.warning(
                    "cannot watch the configuration; it is looked at every few seconds", reason=str(fault)
                )
                await asyncio.sleep(60)

    def _concerns(self, change: object, path: str) -> bool:
        """The file itself, and symbolic links a mounted configuration is swapped through."""
        name = Path(path).name
        return name == self._store.path.name or name.startswith("..")

    async def _poll(self) -> None:
        seen = self._stamp()
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if (stamp := self._stamp()) != seen:
                seen = stamp
                self.check()

    def _stamp(self) -> tuple[float, int]:
        try:
            status = self._store.path.stat()
        except OSError:
            return (0.0, 0)
        return (status.st_mtime, status.st_size)
