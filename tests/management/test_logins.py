"""Logins begun through the API, from the page to open to a login that serves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import yaml
from aiohttp.test_utils import TestServer

from tests.management.conftest import Answer, Managed, Start

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from consenting import Consenting, login_settings


class World:
    """A daemon whose vendors are one identity provider."""

    def __init__(self, daemon: Managed, provider: Consenting, ports: dict[str, int]) -> None:
        self.daemon = daemon
        self.provider = provider
        self.ports = ports

    async def begin(self, route: str, query: str = "") -> dict[str, Any]:
        told = await self.daemon.call("GET", f"/{route}-auth-url{query}")
        assert told.status == 200, told
        begun: dict[str, Any] = told.json
        assert begun["status"] == "ok"
        return begun

    async def consent(self, url: str) -> str:
        """Where the browser is sent after its user agreed."""
        async with self.daemon.session.get(url, allow_redirects=False) as answer:
            return answer.headers["Location"]

    async def status(self, state: str) -> dict[str, Any]:
        told: dict[str, Any] = (await self.daemon.call("GET", f"/get-auth-status?state={state}")).json
        return told

    async def ended(self, state: str) -> dict[str, Any]:
        """How a login ended."""
        for _ in range(200):
            told = await self.status(state)
            if told["status"] != "wait":
                return told
            await asyncio.sleep(0.02)
        raise AssertionError("it does not end")

    async def paste(self, **members: Any) -> Answer:
        return await self.daemon.call("POST", "/oauth-callback", members)

    async def get(self, path: str) -> Answer:
        """A page of the daemon, as a browser gets it."""
        async with self.daemon.session.get(self.daemon.url + path) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    @property
    def folder(self) -> Path:
        return Path(self.daemon.daemon.store.current.auth_dir)

    def files(self) -> list[str]:
        """Everything in the auth directory but locks."""
        names = (path.name for path in self.folder.glob("*")) if self.folder.exists() else ()
        return sorted(name for name in names if not name.endswith(".lock"))


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def world(start: Start) -> AsyncIterator[World]:
    provider = Consenting()
    server = TestServer(provider.app, host="127.0.0.1")
    await server.start_server()
    ports = {vendor: free_port() for vendor in ("claude", "codex", "gemini")}
    settings = {"plugins": {"configs": login_settings(str(server.make_url("")).rstrip("/"), ports)}}
    daemon = await start(yaml.safe_dump(settings))
    yield World(daemon, provider, ports)
    await server.close()


BROWSER = [
    ("anthropic", "anthropic", "claude", "claude-a@b.c.json"),
    ("codex", "codex", "codex", "codex-a@b.c-plus.json"),
    ("gemini-cli", "google", "gemini", "gemini-a@b.c-p1.json"),
]


@pytest.mark.parametrize(("route", "page", "vendor", "file"), BROWSER)
async def test_a_browser_that_comes_back_logs_in(world: World, route: str, page: str, vendor: str, file: str) -> None:
    begun = await world.begin(route)
    assert parse_qs(urlsplit(begun["url"]).query)["state"] == [begun["state"]]
    assert (await world.status(begun["state"]))["status"] == "wait"
    back = urlsplit(await world.consent(begun["url"]))
    shown = await world.get(f"/{page}/callback?{back.query}")
    assert shown.status == 200, shown
    assert "You are logged in" in shown.text
    assert await world.ended(begun["state"]) == {"status": "ok"}
    assert world.files() == [file]
    assert (world.folder / file).stat().st_mode & 0o777 == 0o600
    assert world.folder.stat().st_mode & 0o777 == 0o700
    (entry,) = (await world.daemon.call("GET", "/auth-files")).json["files"]
    assert (entry["name"], entry["email"], entry["status"]) == (file, "a@b.c", "active")
    again = await world.get(f"/{page}/callback?{back.query}")
    assert again.status == 400
    assert "No login is waiting" in again.text


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("codex", "openai"),
        ("codex", "Codex"),
        ("anthropic", "claude"),
        ("anthropic", "anthropic"),
        ("gemini-cli", "google"),
        ("gemini-cli", "gemini"),
    ],
)
async def test_an_address_that_is_pasted_logs_in(world: World, route: str, name: str) -> None:
    begun = await world.begin(route)
    back = await world.consent(begun["url"])
    assert (await world.paste(provider=name, redirect_url=back)).json == {"status": "ok"}
    assert await world.ended(begun["state"]) == {"status": "ok"}
    late = await world.paste(provider=name, redirect_url=back)
    assert (late.status, late.json) == (409, {"status": "error", "error": "oauth flow is not pending"})
    assert len(world.files()) == 1


async def test_what_cannot_be_a_callback_is_refused_in_the_documented_order(world: World) -> None:
    begun = await world.begin("codex")
    state = begun["state"]
    for members, status, error in [
        ({"provider": "nobody"}, 400, "unsupported provider"),
        ({"provider": "anti-gravity", "state": "x", "code": "c"}, 404, "unknown or expired state"),
        ({"provider": "codex", "redirect_url": "http://[::1"}, 400, "invalid redirect_url"),
        ({"provider": "codex", "redirect_url": "nonsense"}, 400, "invalid redirect_url"),
        ({"provider": "codex", "code": "c"}, 400, "state is required"),
        ({"provider": "codex", "code": "c", "state": "a/../b"}, 400, "invalid state"),
        ({"provider": "codex", "code": "c", "state": "a" * 129}, 400, "invalid state"),
        ({"provider": "codex", "state": state}, 400, "code or error is required"),
        ({"provider": "codex", "state": "0" * 32, "code": "c"}, 404, "unknown or expired state"),
        ({"provider": "claude", "state": state, "code": "c"}, 400, "provider does not match state"),
    ]:
        told = await world.paste(**members)
        assert (told.status, told.json) == (status, {"status": "error", "error": error}), members
    broken = await world.daemon.call("POST", "/oauth-callback", data=b"{")
    assert (broken.status, broken.json) == (400, {"status": "error", "error": "invalid body"})
    assert await world.status(state) == {"status": "wait"}
    assert world.files() == []


async def test_a_status_is_told_of_known_states_only(world: World) -> None:
    told = await world.daemon.call("GET", "/get-auth-status")
    assert told.json == {"status": "ok"}
    told = await world.daemon.call("GET", "/get-auth-status?state=a%2F..")
    assert (told.status, told.json) == (400, {"status": "error", "error": "invalid state"})
    assert await world.status("0" * 32) == {"status": "error", "error": "unknown or expired state"}


async def test_a_login_that_is_cancelled_is_over(world: World) -> None:
    begun = await world.begin("codex", "?is_webui=true")
    told = await world.daemon.call("DELETE", f"/oauth-session?state={begun['state']}")
    assert told.json == {"status": "ok", "cancelled": True}
    told = await world.daemon.call("DELETE", f"/oauth-session?state={begun['state']}")
    assert told.json == {"status": "ok", "cancelled": False}
    back = urlsplit(await world.consent(begun["url"]))
    assert (await world.get(f"/codex/callback?{back.query}")).status == 400
    assert world.files() == []
    with pytest.raises(aiohttp.ClientConnectionError):
        await world.daemon.session.get(f"http://127.0.0.1:{world.ports['codex']}/auth/callback")
