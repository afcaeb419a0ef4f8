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
from yarl import URL

from tests.management.conftest import Answer, Managed, Start

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from consenting import GOOGLE_SECRET, Consenting, login_settings


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


async def test_a_code_is_shown_and_confirmed_elsewhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.accounts.login.device.SHORTEST_INTERVAL", 0.01)
    world.provider.interval = 0.01
    for route, query, file in (("kimi", "", "kimi-"), ("codex", "?method=device", "codex-a@b.c-plus.json")):
        begun = await world.begin(route, query)
        assert (begun["flow"], begun["user_code"], begun["expires_in"]) == ("device", "WXYZ-1234", 600)
        assert "/confirm" in begun["url"]
        assert await world.ended(begun["state"]) == {"status": "ok"}
        assert any(name.startswith(file) for name in world.files())
    refused = await world.daemon.call("GET", "/anthropic-auth-url?method=device")
    assert (refused.status, refused.json["error"]) == (400, "unsupported method")


@pytest.mark.parametrize("query", ["", "?project_id=p2", "?project_id=ALL", "?project_id=GOOGLE_ONE"])
async def test_google_is_asked_for_the_project_that_was_named(world: World, query: str) -> None:
    world.provider.projects = [{"projectId": "p1"}, {"projectId": "p2"}]
    begun = await world.begin("gemini-cli", query)
    await world.paste(provider="gemini", redirect_url=await world.consent(begun["url"]))
    assert await world.ended(begun["state"]) == {"status": "ok"}
    expected = {"": "p1", "?project_id=p2": "p2", "?project_id=ALL": "all", "?project_id=GOOGLE_ONE": "found-1"}
    assert world.files() == [f"gemini-a@b.c-{expected[query]}.json"]


FAILURES: list[tuple[str, str, dict[str, Any], str]] = [
    ("anthropic", "claude", {"denies": True}, "Bad request"),
    ("codex", "codex", {"denies": True}, "Bad Request"),
    ("gemini-cli", "google", {"denies": True}, "Authentication failed"),
    ("anthropic", "claude", {"statuses": [400]}, "Failed to exchange authorization code for tokens"),
    ("codex", "codex", {"statuses": [500]}, "Failed to exchange authorization code for tokens"),
    ("gemini-cli", "google", {"statuses": [400]}, "Failed to exchange token"),
    ("gemini-cli", "google", {"user": ""}, "Could not get user info"),
    ("gemini-cli", "google", {"projects": []}, "Failed to resolve project ID"),
    (
        "gemini-cli",
        "google",
        {"disabled": {"p1"}, "enable_answer": (403, {"error": {"message": "off"}})},
        "Failed to verify Cloud AI API status: project activation required: off",
    ),
    (
        "gemini-cli",
        "google",
        {"onboarding": [(500, {})]},
        "Failed to complete Gemini CLI onboarding: Google's Code Assist refuses: status 500",
    ),
]


@pytest.mark.parametrize(("route", "name", "settings", "error"), FAILURES)
async def test_a_failure_has_its_known_text_and_a_reason_and_the_page_does_not_claim_success(
    world: World, route: str, name: str, settings: dict[str, Any], error: str
) -> None:
    for member, value in settings.items():
        setattr(world.provider, member, value)
    begun = await world.begin(route)
    page = {"anthropic": "anthropic", "codex": "codex", "gemini-cli": "google"}[route]
    back = urlsplit(await world.consent(begun["url"]))
    shown = await world.get(f"/{page}/callback?{back.query}")
    assert shown.status == 400
    assert "logged in" not in shown.text
    told = await world.ended(begun["state"])
    assert (told["status"], told["error"]) == ("error", error)
    assert len(told["message"]) > 10
    assert world.files() == []


async def test_a_login_that_cannot_be_stored_says_so(world: World) -> None:
    begun = await world.begin("codex")
    world.folder.rmdir()
    world.folder.write_text("in the way")
    await world.paste(provider="codex", redirect_url=await world.consent(begun["url"]))
    assert (await world.ended(begun["state"]))["error"] == "Failed to save authentication tokens"
    world.folder.unlink()


async def test_a_missing_directory_is_made_for_its_owner_only(world: World) -> None:
    begun = await world.begin("codex")
    world.folder.rmdir()
    await world.paste(provider="codex", redirect_url=await world.consent(begun["url"]))
    assert await world.ended(begun["state"]) == {"status": "ok"}
    assert world.folder.stat().st_mode & 0o777 == 0o700
    assert (world.folder / world.files()[0]).stat().st_mode & 0o777 == 0o600


async def test_two_logins_to_one_provider_end_each_for_itself(world: World) -> None:
    first, second = await world.begin("codex", "?is_webui=1"), await world.begin("codex", "?is_webui=on")
    back = await world.consent(second["url"])
    world.provider.user = "second@b.c"
    async with world.daemon.session.get(back) as answer:
        assert "You are logged in" in await answer.text()
    assert await world.ended(second["state"]) == {"status": "ok"}
    assert await world.status(first["state"]) == {"status": "wait"}
    world.provider.user = "first@b.c"
    async with world.daemon.session.get(await world.consent(first["url"])) as answer:
        assert answer.status == 200, "the port is still listened on for the other one"
    assert await world.ended(first["state"]) == {"status": "ok"}
    with pytest.raises(aiohttp.ClientConnectionError):
        await world.daemon.session.get(f"http://127.0.0.1:{world.ports['codex']}/auth/callback")
    assert world.files() == ["codex-first@b.c-plus.json", "codex-second@b.c-plus.json"]


async def test_the_providers_port_leads_to_the_daemons_page_and_nowhere_else(world: World) -> None:
    begun = await world.begin("codex", "?is_webui=true")
    port = world.ports["codex"]

    async def get(path: str, host: str = "127.0.0.1") -> aiohttp.ClientResponse:
        url = URL(f"http://{host}:{port}{path}", encoded=True)
        return await world.daemon.session.get(url, allow_redirects=False)

    answer = await get("/auth/callback?code=a%2Bb&state=x&redirect=https://evil.example")
    assert answer.status == 302
    expected = f"{world.daemon.url}/codex/callback?code=a%2Bb&state=x&redirect=https://evil.example"
    assert answer.headers["Location"] == expected
    assert answer.headers["Cache-Control"] == "no-store"
    for path in ("/", "/codex/callback", "/auth/callback/x", "/v0/management/config"):
        assert (await get(path)).status == 404
    with pytest.raises(aiohttp.ClientConnectionError):
        await get("/auth/callback", "127.0.0.2")
    again = await world.begin("codex", "?is_webui=true")
    assert (await get("/auth/callback?code=c&state=x")).status == 302
    for state in (begun["state"], again["state"]):
        await world.daemon.call("DELETE", f"/oauth-session?state={state}")
    await asyncio.sleep(0.05)
    with pytest.raises(aiohttp.ClientConnectionError):
        await get("/auth/callback")


async def test_a_port_that_is_taken_is_said(world: World) -> None:
    import socket

    with socket.create_server(("127.0.0.1", world.ports["codex"])):
        told = await world.daemon.call("GET", "/codex-auth-url?is_webui=true")
        assert (told.status, told.json["error"]) == (500, "failed to start callback server")
        assert f"port {world.ports['codex']} is in use" in told.json["message"]
        await world.begin("codex")


async def test_a_vendor_that_gives_no_code_is_said(world: World) -> None:
    world.provider.device_status = 400
    told = await world.daemon.call("GET", "/kimi-auth-url")
    assert (told.status, told.json["error"]) == (500, "failed to generate authorization url")
    assert "400" in told.json["message"]


async def test_a_state_is_forgotten_when_its_time_is_up(world: World) -> None:
    clock = 0.0
    world.daemon.daemon.logins._clock = lambda: clock
    waiting = await world.begin("codex", "?is_webui=true")
    done = await world.begin("anthropic")
    await world.paste(provider="claude", redirect_url=await world.consent(done["url"]))
    assert await world.ended(done["state"]) == {"status": "ok"}
    world.provider.denies = True
    denied = await world.begin("anthropic")
    await world.paste(provider="claude", redirect_url=await world.consent(denied["url"]))
    assert (await world.ended(denied["state"]))["status"] == "error"
    unknown = {"status": "error", "error": "unknown or expired state"}
    clock = 59.0
    assert await world.status(done["state"]) == {"status": "ok"}
    clock = 61.0
    assert await world.status(done["state"]) == unknown
    assert await world.status(waiting["state"]) == {"status": "wait"}
    clock = 599.0
    assert (await world.status(denied["state"]))["error"] == "Bad request"
    clock = 601.0
    assert await world.status(denied["state"]) == unknown
    assert await world.status(waiting["state"]) == unknown
    back = urlsplit(await world.consent(waiting["url"]))
    assert (await world.get(f"/codex/callback?{back.query}")).status == 400
    with pytest.raises(aiohttp.ClientConnectionError):
        await world.daemon.session.get(f"http://127.0.0.1:{world.ports['codex']}/auth/callback")


async def test_a_browser_that_stays_away_is_given_up(world: World) -> None:
    world.daemon.daemon.logins._callback_seconds = 0.05
    for route, text in (
        ("anthropic", "Timeout waiting for OAuth callback"),
        ("codex", "Timeout waiting for OAuth callback"),
        ("gemini-cli", "OAuth flow timed out"),
    ):
        begun = await world.begin(route, "?is_webui=true")
        assert (await world.ended(begun["state"]))["error"] == text


async def test_logins_do_not_pile_up(world: World) -> None:
    for _ in range(50):
        begun = await world.begin("codex")
    told = await world.daemon.call("GET", "/codex-auth-url")
    assert (told.status, told.json["error"]) == (429, "too many logins")
    await world.daemon.call("DELETE", f"/oauth-session?state={begun['state']}")
    await world.begin("codex")


async def test_trust_row_09_a_state_counts_once_for_its_provider_and_its_flow(world: World) -> None:
    """Replayed, foreign, guessed and borrowed callbacks: nothing is stored and no code is sent anywhere."""
    claude, codex = await world.begin("anthropic"), await world.begin("codex")
    assert claude["state"] != codex["state"]
    assert min(len(claude["state"]), len(codex["state"])) * 4 >= 128
    for path in (
        f"/codex/callback?code=c&state={claude['state']}",
        f"/anthropic/callback?code=c&state={codex['state']}",
        f"/google/callback?code=c&state={codex['state']}",
        f"/codex/callback?code=c&state={'0' * 32}",
        f"/codex/callback?code=c&state=../{codex['state']}",
        "/codex/callback?code=c&state=%3Cscript%3Ealert(1)%3C/script%3E",
        "/codex/callback?code=c",
        "/codex/callback",
    ):
        shown = await world.get(path)
        assert shown.status == 400
        assert "No login is waiting" in shown.text
        for trace in ("script", "alert", codex["state"], claude["state"]):
            assert trace not in shown.text
    assert world.provider.calls == []
    assert world.files() == []
    challenge = parse_qs(urlsplit(codex["url"]).query)
    assert challenge["code_challenge_method"] == ["S256"]
    back = urlsplit(await world.consent(codex["url"]))
    assert (await world.get(f"/codex/callback?{back.query}")).status == 200
    assert (await world.get(f"/codex/callback?{back.query}")).status == 400
    assert (await world.paste(provider="codex", redirect_url=back.geturl())).status == 409
    assert len(world.provider.calls) == 1
    headers = (await world.get("/codex/callback")).headers
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert (headers["Cache-Control"], headers["Referrer-Policy"]) == ("no-store", "no-referrer")


async def test_trust_row_11_a_callback_page_leads_nowhere(world: World) -> None:
    begun = await world.begin("codex")
    back = urlsplit(await world.consent(begun["url"]))
    more = "&redirect=https://evil.example&redirect_uri=https://evil.example&platform_url=javascript:alert(1)"
    for _ in range(2):
        url = f"{world.daemon.url}/codex/callback?{back.query}{more}"
        async with world.daemon.session.get(url, allow_redirects=False) as answer:
            assert answer.status in (200, 400)
            assert "Location" not in answer.headers
            text = await answer.text()
        assert "evil" not in text
        assert "javascript" not in text


async def test_no_code_state_or_secret_is_logged_or_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for route, page in (("anthropic", "anthropic"), ("codex", "codex"), ("gemini-cli", "google")):
        for statuses in ([400], []):
            world.provider.statuses = list(statuses)
            begun = await world.begin(route)
            back = urlsplit(await world.consent(begun["url"]))
            await world.get(f"/{page}/callback?{back.query}")
            told.append(str(await world.ended(begun["state"])))
    told.append((await world.daemon.call("GET", "/auth-files")).text)
    told.append((await world.daemon.call("GET", "/config")).text)
    shown = capsys.readouterr()
    told += [shown.out, shown.err]
    logged = "".join(told)
    assert "logged in" in logged
    secrets = [GOOGLE_SECRET]
    secrets += [query["state"] for query in world.provider.authorized]
    secrets += [f"code-{number}" for number in range(1, 7)]
    secrets += [str(call["code_verifier"]) for call in world.provider.calls if "code_verifier" in call]
    secrets += [token for login in world.provider.logins.values() for token in (login.access, login.refresh_token)]
    for secret in secrets:
        assert secret not in logged, secret


async def test_stopping_the_daemon_ends_what_waits(world: World) -> None:
    await world.begin("codex", "?is_webui=true")
    await world.daemon.daemon.logins.close()
    with pytest.raises(aiohttp.ClientConnectionError):
        await world.daemon.session.get(f"http://127.0.0.1:{world.ports['codex']}/auth/callback")


async def test_a_file_another_program_wrote_is_in_force_when_that_is_asked_for(world: World) -> None:
    async def check(name: Any) -> Answer:
        return await world.daemon.call("POST", "/auth-files/check", {"name": name})

    (world.folder / "k.json").write_text('{"type": "kimi", "access_token": "t"}')
    told = (await check("k.json")).json
    assert (told["status"], told["known"]) == ("ok", True)
    assert told["models"] > 0
    (world.folder / "k.json").unlink()
    assert (await check("k.json")).json == {"status": "ok", "known": False, "models": 0}
    for name in ("../k.json", "k", "", None, 5, ".k.json", "CON.json"):
        assert (await check(name)).status == 400
