"""Everything a refresh needs but the server: auth directory, roster, real providers, a clock to set."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import structlog
from aiohttp import web

from cpa.accounts.account import Account
from cpa.accounts.files import AuthDirectory
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.config import Config
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.renewal import Renewals
from cpa.exchange.roster import Roster
from cpa.plugins.manager import Plugins
from cpa.upstream.client import UpstreamClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from identity_provider import IdentityProvider, auth_file, oauth_settings


class Renewing:
    """A daemon's part that keeps logins alive, over ``folder`` and an authorization server at ``url``."""

    def __init__(self, folder: Path, url: str, *, workers: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.ahead = 0.0
        """Seconds our clock is ahead of the true one."""
        log = structlog.get_logger()
        config = Config.from_plain({"plugins": {"configs": oauth_settings(url)}})
        plugins = Plugins(log)
        plugins.load(config)
        self.plugins = plugins
        self.pool = AccountPool()
        self.roster = Roster(plugins, self.pool, Catalog(self.pool.listed), log)
        self.roster.apply_config(config)
        self.client = UpstreamClient(lambda: "", {})
        self.files = AuthFiles(AuthDirectory(folder), self.roster, log)
        self.renewals = Renewals(
            files=self.files,
            roster=self.roster,
            plugins=plugins,
            http=self.client,
            log=log,
            workers=lambda: workers,
            wall=lambda: time.time() + self.ahead,
        )

    async def close(self) -> None:
        """Stop what runs."""
        await self.renewals.stop()
        await self.client.close()

    async def settled(self) -> None:
        """Wait until no refresh runs."""
        await asyncio.sleep(0.002)
        while running := list(self.renewals._running.values()):
            await asyncio.wait(running)

    def account(self, name: str) -> Account:
        """The account of this id as it is now."""
        account = self.pool.get(name)
        assert account is not None, name
        return account

    def on_disk(self, name: str) -> dict[str, Any]:
        """The members of a file."""
        data: dict[str, Any] = orjson.loads((self.folder / name).read_bytes())
        return data

    def write(self, name: str, data: dict[str, Any]) -> None:
        """Put a file there as another program would."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(orjson.dumps(data))


async def serve(provider: IdentityProvider) -> tuple[web.AppRunner, str]:
    """Serve on a free port; the runner to clean up and the URL."""
    runner = web.AppRunner(provider.app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


__all__ = ["IdentityProvider", "Renewing", "auth_file", "serve"]
