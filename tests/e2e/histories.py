"""A daemon in this process that keeps histories, and the upstream it asks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml
from aiohttp.test_utils import TestServer
from fake_model import FakeModel
from running import KEY, base_config

from cpa.config import ConfigStore
from cpa.daemon import Daemon

MANAGEMENT_KEY = "management-key-for-histories"
HI = [{"role": "user", "content": "hi"}]
CHAT: dict[str, Any] = {"model": "oc", "messages": HI}


class Kept:
    """A daemon, its client and its management API."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession, model: FakeModel) -> None:
        self.daemon = daemon
        self.session = session
        self.model = model
        self.url = f"http://{daemon.addresses[0]}"

    async def ask(self, path: str, body: Any, **headers: str) -> tuple[int, bytes]:
        """Ask as a client; ``body`` is JSON, or bytes as they are."""
        sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        async with self.session.post(self.url + path, data=data, headers=sent) as answer:
            return answer.status, await answer.read()

    async def manage(self, path: str, method: str = "GET") -> tuple[int, bytes, Any]:
        """Call the management API: status, body, headers."""
        headers = {"Authorization": f"Bearer {MANAGEMENT_KEY}"}
        url = f"{self.url}/v0/management{path}"
        async with self.session.request(method, url, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers

    async def json(self, path: str) -> Any:
        """What a management route tells."""
        status, body, _ = await self.manage(path)
        assert status == 200, body
        return orjson.loads(body)

    async def history(self, request_id: str) -> dict[str, str]:
        """The sections of a history: title -> lines and body."""
        shown = await self.json(f"/request-histories/{request_id}")
        return {
            section["title"]: "\n".join([*section["lines"], section["text"]]) for section in shown.get("sections", [])
        }

    async def text(self, request_id: str) -> str:
        """A history as text."""
        status, body, _ = await self.manage(f"/request-log-by-id/{request_id}")
        assert status == 200, body
        return body.decode()


Keep = Callable[..., Awaitable[Kept]]
"""Starts a daemon with these settings (``request_log=True``)."""


async def keeping(folder: Path, upstream: TestServer, model: FakeModel, settings: dict[str, Any]) -> Daemon:
    """A daemon with these settings, not started yet."""
    document = base_config(str(upstream.make_url("")).rstrip("/"), folder, 0)
    document |= {"remote-management": {"secret-key": MANAGEMENT_KEY}, **settings}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    environ = {"XDG_RUNTIME_DIR": str(folder), "WRITABLE_PATH": str(folder)}
    return Daemon(ConfigStore(path, environ), environ)
