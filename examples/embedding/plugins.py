"""Plugins registered by the program that embeds cpa: who may ask, what is counted, a route and a rule of its own.

python examples/embedding/plugins.py
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.plugins import ClientIdentity, ClientRequest, UsageRecord, hookimpl


class Team:
    """Lets clients in by a header, counts what each of them uses, and tells everybody to be brief."""

    def __init__(self, members: Mapping[str, str]) -> None:
        self._members = members
        self.attempts: Counter[str] = Counter()

    @hookimpl
    def cpa_authenticate(self, headers: Mapping[str, str]) -> ClientIdentity | None:
        """None leaves the decision to the next plugin, and at last to ``api-keys``."""
        name = self._members.get(headers.get("X-Team-Badge", ""))
        return ClientIdentity(id=name, provider="team") if name else None

    @hookimpl
    def cpa_edit_request(self, request: ClientRequest, body: dict[str, Any]) -> dict[str, Any] | None:
        """Bodies are never changed in place: give a new one, or None."""
        if request.format != "openai" or "messages" not in body:
            return None
        return {**body, "messages": [{"role": "system", "content": "Be brief."}, *body["messages"]]}

    @hookimpl
    def cpa_usage(self, record: UsageRecord) -> None:
        """One record per attempt. Must not block."""
        self.attempts[record.client_id] += 1

    @hookimpl
    def cpa_routes(self, router: web.UrlDispatcher) -> None:
        """Routes for clients are not authenticated unless the handler does it."""
        router.add_get("/team", self.show)

    async def show(self, request: web.Request) -> web.Response:
        """Who asked how often."""
        return web.json_response(dict(self.attempts))


async def main() -> dict[str, int]:
    """Ask twice as a member and once as a stranger. Gives what the own route shows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {folder}/auth\napi-keys: [another-key]\n")
        daemon = Daemon(ConfigStore(path))
        daemon.plugins.register(Team({"badge-7": "ada"}), "team", daemon.store.current)
        async with daemon, aiohttp.ClientSession() as session:
            url = f"http://{daemon.addresses[0]}"
            body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
            for badge in ("badge-7", "badge-7", "stranger"):
                headers = {"X-Team-Badge": badge}
                async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
                    print(badge, answer.status)
            async with session.get(f"{url}/team") as answer:
                counted: dict[str, int] = await answer.json()
    print(counted)
    return counted


if __name__ == "__main__":
    asyncio.run(main())
