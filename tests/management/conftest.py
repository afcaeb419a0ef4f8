"""A daemon in this process, driven through its management API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
import orjson
import pytest

from cpa.config import ConfigStore
from cpa.daemon import Daemon

KEY = "management-key-for-tests"
ENDLESS = "/request-feed"
"""The route whose answer goes on until the client leaves."""
HASH = bcrypt.hashpw(KEY.encode(), b"$2b$04$abcdefghijklmnopqrstuu").decode()


class Answer:
    """What came back."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return orjson.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:500]!r}"


class Managed:
    """A running daemon and the file it was started with."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession) -> None:
        self.daemon = daemon
        self.session = session
        self.url = f"http://{daemon.addresses[0]}"
        self.path = daemon.store.path

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = KEY,
        data: bytes | aiohttp.FormData | None = None,
        **headers: str,
    ) -> Answer:
        """Call a route below ``/v0/management``, or one of another place by its whole path.

        ``body`` is sent as JSON, ``data`` as it is.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        payload: Any = orjson.dumps(body) if body is not None else data
        own = path.startswith(("/v0/", "/management."))
        url = self.url + (path if own else f"/v0/management{path}")
        async with self.session.request(method, url, data=payload, headers=sent, allow_redirects=False) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    @property
    def file(self) -> str:
        """The text of the configuration file."""
        return self.path.read_text()

    def edit(self, text: str) -> None:
        """Save the file by hand and let the daemon take it."""
        self.path.write_text(text)
        self.daemon.store.reload()


Start = Callable[..., Any]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start a daemon: ``await start("debug: true\\n")``; ``secret_key=""`` leaves the management API off."""
    running: list[Daemon] = []
    async with aiohttp.ClientSession() as session:

        async def begin(
            more: str = "",
            *,
            secret_key: str = HASH,
            environ: Mapping[str, str] | None = None,
            local_password: str = "",
        ) -> Managed:
            path = tmp_path / "config.yaml"
            path.write_text(
                "# the daemon of a test\n"
                "host: 127.0.0.1\n"
                "port: 0\n"
                f"auth-dir: {tmp_path}/auth\n"
                f"usage-database-path: {tmp_path}/usage.sqlite\n"
                "remote-management:\n"
                f"  secret-key: '{secret_key}' # the key\n"
                f"{more}"
            )
            daemon = Daemon(ConfigStore(path, environ or {}), environ or {}, local_password=local_password)
            running.append(daemon)
            await daemon.start()
            return Managed(daemon, session)

        yield begin
        for daemon in running:
            await daemon.stop()


@pytest.fixture
async def managed(start: Start) -> Managed:
    """A daemon with a management key and nothing else."""
    daemon: Managed = await start()
    return daemon
