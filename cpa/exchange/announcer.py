"""Tell plugins which models came and went, without making anybody wait for them."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cpa.accounts.account import Account
from cpa.catalog.model import Model
from cpa.plugins.manager import Plugins

LONGEST_CALL = 5.0
"""Seconds an implementation may take."""


class Announcer:
    """Collects announcements and makes them in order, one at a time; costs nothing when no plugin listens."""

    def __init__(self, plugins: Plugins, log: Any, longest_call: float = LONGEST_CALL) -> None:
        self._plugins = plugins
        self._log = log
        self._longest_call = longest_call
        self._waiting: deque[tuple[str, dict[str, Any]]] = deque()
        self._wake = asyncio.Event()

    def registered(self, account: Account, models: Sequence[Model]) -> None:
        """An account offers these models from now on."""
        self._announce("cpa_models_registered", provider=account.provider, account=account, models=list(models))

    def unregistered(self, account: Account) -> None:
        """An account offers nothing any more."""
        self._announce("cpa_models_unregistered", provider=account.provider, account=account)

    async def run(self) -> None:
        """Make announcements until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                name, arguments = self._waiting.popleft()
                for implementation in self._plugins.implementations(name):
                    await self._call(implementation, name, arguments)
                await asyncio.sleep(0)

    def _announce(self, name: str, **arguments: Any) -> None:
        if self._plugins.hook(name) is not None:
            self._waiting.append((name, arguments))
            self._wake.set()

    async def _call(self, implementation: Callable[..., Any], name: str, arguments: dict[str, Any]) -> None:
        try:
            result = implementation(**arguments)
            if inspect.isawaitable(result):
                async with asyncio.timeout(self._longest_call):
                    await result
        except Exception as fault:
            self._log.error("plugin failed", hook=name, reason=f"{type(fault).__name__}: {fault}")
