"""Everything a login needs but a person: real providers, an auth directory, vendors, and a browser that agrees."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from cpa.accounts.files import AuthDirectory
from cpa.accounts.login.callback import parse_callback_url
from cpa.accounts.login.device import DeviceCode
from cpa.accounts.pool import AccountPool
from cpa.catalog.catalog import Catalog
from cpa.config import Config
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.login_flow import LoginFlow, StoredLogin
from cpa.exchange.roster import Roster
from cpa.plugins.login import Choice, LoginOptions
from cpa.plugins.manager import Plugins
from cpa.upstream.client import UpstreamClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from consenting import Consenting, login_settings


class Browser:
    """Shows a login to somebody who agrees, chooses what ``answers`` say, and confirms codes."""

    def __init__(self) -> None:
        self.pages: list[str] = []
        self.codes: list[DeviceCode] = []
        self.asked: list[tuple[str, list[str]]] = []
        self.answers: list[str] = []
        self.steps: list[str] = []
        self.comes_back = True
        self._flow: LoginFlow | None = None

    @asynccontextmanager
    async def receiving(self, flow: LoginFlow, redirect_uri: str) -> AsyncIterator[None]:
        self._flow = flow
        yield

    async def show_page(self, url: str) -> None:
        self.pages.append(url)
        if not self.comes_back:
            return
        async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as answer:
            assert self._flow is not None
            self._flow.deliver(parse_callback_url(answer.headers["Location"]))

    async def show_code(self, code: DeviceCode) -> None:
        self.codes.append(code)

    async def choose(self, question: str, choices: Sequence[Choice], default: str) -> str:
        self.asked.append((question, [choice.value for choice in choices]))
        return self.answers.pop(0) if self.answers else default

    def progress(self, text: str) -> None:
        self.steps.append(text)


class LoggingIn:
    """``provider`` is every vendor; ``slept`` the seconds that were waited for nothing but a fake clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.provider = Consenting()
        self.server = TestServer(self.provider.app, host="127.0.0.1")
        self.slept: list[float] = []

    async def start(self) -> None:
        await self.server.start_server()
        url = str(self.server.make_url("")).rstrip("/")
        log = structlog.get_logger()
        config = Config.from_plain({"plugins": {"configs": login_settings(url)}})
        self.plugins = Plugins(log)
        self.plugins.load(config)
        pool = AccountPool()
        self.roster = Roster(self.plugins, pool, Catalog(pool.listed), log)
        self.roster.apply_config(config)
        self.global_proxy = ""
        self.client = UpstreamClient(lambda: self.global_proxy, {})
        self.files = AuthFiles(AuthDirectory(self.folder), self.roster, log)

    async def close(self) -> None:
        await self.client.close()
        await self.server.close()

    async def login(
        self, name: str, browser: Browser | None = None, seconds: float = 5.0, **options: Any
    ) -> StoredLogin:
        """Log in to the provider called ``name``."""
        (found,) = [provider for provider in self.plugins.providers if provider.name == name]

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)

        flow = LoginFlow(
            found,
            LoginOptions(**options),
            http=self.client,
            host=browser or Browser(),
            files=self.files,
            callback_seconds=seconds,
            sleep=sleep,
            clock=lambda: sum(self.slept),
        )
        return await flow.run()

    def names(self) -> list[str]:
        """The files there are."""
        return self.files.directory.names()


class Proxy:
    """A proxy that answers everything itself, and counts."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        app = web.Application()
        app.router.add_route("*", "/{rest:.*}", self._answer)
        self.server = TestServer(app, host="127.0.0.1")

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append(urlsplit(request.raw_path).path)
        return web.json_response({"error": "from the proxy"}, status=400)
