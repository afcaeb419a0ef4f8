"""A provider from elsewhere that people log in to: what docs/plugins.md promises, through a running daemon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import aiohttp
import orjson
import pytest

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.plugins import (
    Account,
    Choice,
    Login,
    LoginOffer,
    Model,
    NewLogin,
    Provider,
    file_account,
    hookimpl,
    name_part,
    new_pkce,
    provider_of,
)

PASSWORD = "local-password"


class MyCloud(Provider):
    """Takes the code itself as the token."""

    name = "my-cloud"
    login_offer = LoginOffer(title="My Cloud", methods=("browser",), aliases=("mc",))

    def accounts_from_file(self, path: str, data: dict[str, Any]) -> list[Account] | None:
        return [file_account(path, data, secret=data["access_token"])] if provider_of(data) == self.name else None

    def models(self, account: Account, builtin: Any) -> list[Model]:
        return [Model(id="mine", user_defined=True)]

    async def login(self, login: Login) -> NewLogin:
        pkce = new_pkce()
        redirect_uri = login.redirect_uri("http://localhost:9123/callback", any_port=True)
        query = {"state": login.state, "redirect_uri": redirect_uri, "code_challenge": pkce.challenge}
        code = await login.authorize(f"https://auth.example.com/authorize?{urlencode(query)}", redirect_uri)
        if code == "bug":
            raise KeyError("a slip of the plugin's author")
        region = await login.choose("Where?", [Choice("eu", "Europe"), Choice("us", "America")], default="us")
        login.progress("Done")
        data = {"type": self.name, "email": "m@c.d", "access_token": code, "region": region}
        return NewLogin(name=f"my-cloud-{name_part('m@c.d')}.json", data=data, label="m@c.d")


class MyPlugin:
    """The provider, and a rule about who may log in."""

    @hookimpl
    def cpa_providers(self) -> list[Provider]:
        return [MyCloud()]

    @hookimpl
    def cpa_edit_login(self, provider: str, data: dict[str, Any]) -> dict[str, Any] | None:
        if data["access_token"] == "banned":
            raise ValueError("this account may not be used here")
        return {**data, "note": f"via {provider}"} if data["access_token"] != "plain" else None


class Running:
    """The daemon, and what its management API says."""

    def __init__(self, daemon: Daemon, session: aiohttp.ClientSession) -> None:
        self.url = f"http://{daemon.addresses[0]}"
        self.folder = Path(daemon.store.current.auth_dir)
        self._session = session

    async def get(self, path: str) -> Any:
        headers = {"Authorization": f"Bearer {PASSWORD}"}
        async with self._session.get(f"{self.url}/v0/management{path}", headers=headers) as answer:
            return orjson.loads(await answer.read())

    async def login(self, code: str) -> tuple[int, dict[str, Any]]:
        """The status of the page the browser ends at, and how the login ended."""
        begun = await self.get("/my-cloud-auth-url")
        assert parse_qs(urlsplit(begun["url"]).query)["state"] == [begun["state"]]
        page = f"{self.url}/my-cloud/callback?code={code}&state={begun['state']}"
        async with self._session.get(page) as answer:
            status = answer.status
        while (told := await self.get(f"/get-auth-status?state={begun['state']}"))["status"] == "wait":
            await asyncio.sleep(0.01)
        return status, told


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    path = tmp_path / "config.yaml"
    path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {tmp_path}/auth\nusage-database-path: {tmp_path}/u.sqlite\n")
    daemon = Daemon(ConfigStore(path, {}), {}, local_password=PASSWORD)
    load = daemon.plugins.load

    def load_with_mine(config: Any, *arguments: Any) -> None:
        daemon.plugins.register(MyPlugin(), "mine", config)
        load(config, *arguments)

    daemon.plugins.load = load_with_mine  # type: ignore[method-assign]
    await daemon.start()
    async with aiohttp.ClientSession() as session:
        yield Running(daemon, session)
    await daemon.stop()


async def test_a_provider_from_elsewhere_is_logged_in_to_like_any_other(running: Running) -> None:
    assert await running.login("secret") == (200, {"status": "ok"})
    data = orjson.loads((running.folder / "my-cloud-m@c.d.json").read_bytes())
    assert data == {
        "type": "my-cloud",
        "email": "m@c.d",
        "access_token": "secret",
        "region": "us",
        "note": "via my-cloud",
        "disabled": False,
    }
    (entry,) = (await running.get("/auth-files"))["files"]
    assert (entry["provider"], entry["label"]) == ("my-cloud", "m@c.d")


async def test_a_plugin_may_refuse_a_login_and_a_slip_in_one_is_a_failed_login(running: Running) -> None:
    for code, said in (("banned", "this account may not be used here"), ("bug", "my-cloud failed: KeyError")):
        status, told = await running.login(code)
        assert (status, told["status"], told["message"]) == (400, "error", said)
    assert not list(running.folder.glob("*.json"))
