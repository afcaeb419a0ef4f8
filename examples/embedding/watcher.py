"""Follow what happens in a daemon: settings, logins and models that come, change and go; and a management route.

python examples/embedding/watcher.py
"""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from cpa.config import Config, ConfigStore
from cpa.config.diff import changed_paths
from cpa.daemon import Daemon
from cpa.plugins import Account, described, hookimpl

LOGIN = {"type": "claude", "access_token": "token", "email": "me@example.com", "expired": "2099-01-01T00:00:00Z"}


class Diary:
    """Writes down what it hears. Everything is called in the event loop and must return quickly."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def settings(self, old: Config, new: Config) -> None:
        """After every change that is in force, whoever made it."""
        self.lines.append(f"changed: {', '.join(changed_paths(old, new))}")

    def accounts(self, old: Account | None, new: Account | None) -> None:
        """``old`` is None when the account came, ``new`` when it went."""
        what = "came" if old is None else "went" if new is None else "changed"
        account = new or old
        self.lines.append(f"{account.id if account else ''} {what}")

    @hookimpl
    def cpa_models_registered(self, provider: str, account: Account, models: list[Any]) -> None:
        """An account offers these models from now on."""
        self.lines.append(f"{account.id} offers models: {bool(models)}")

    @hookimpl
    def cpa_management_routes(self, router: web.UrlDispatcher) -> None:
        """Below ``/v0/management``, behind its key."""
        router.add_get("/diary", self.show)

    @described("What happened", answer={"type": "array", "items": {"type": "string"}})
    async def show(self, request: web.Request) -> web.Response:
        """The lines so far."""
        return web.json_response(self.lines)


async def main() -> list[str]:
    """Change a setting, store a login and delete it. Gives what the own route shows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {folder}/auth\n")
        diary = Diary()
        password = secrets.token_urlsafe(16)
        daemon = Daemon(ConfigStore(path), local_password=password)
        daemon.plugins.register(diary, "diary", daemon.store.current)
        async with daemon, aiohttp.ClientSession() as session:
            daemon.store.subscribe(diary.settings)
            daemon.roster.subscribe(diary.accounts)
            management = f"http://{daemon.addresses[0]}/v0/management"
            key = {"Authorization": f"Bearer {password}"}
            async with session.put(f"{management}/debug", json={"value": True}, headers=key):
                pass
            await daemon.auth_files.put("me.json", LOGIN)
            await asyncio.sleep(0.1)  # plugins hear of models a moment later, without holding up requests
            await daemon.auth_files.delete("me.json")
            async with session.get(f"{management}/diary", headers=key) as answer:
                lines: list[str] = await answer.json()
    print("\n".join(lines))
    return lines


if __name__ == "__main__":
    asyncio.run(main())
