"""Requests in every client format, answered by logins of every vendor; tokens end while they are used."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from oauth_upstream import OAuthUpstream
from running import KEY, RunningDaemon, Upstream, free_port

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accounts"))
from identity_provider import IdentityProvider, auth_file, oauth_settings

MODELS = {"claude": "claude-sonnet-4-6", "codex": "gpt-5.5", "gemini": "gemini-2.5-pro", "kimi": "kimi-k2.6"}
PLUGINS = {"claude": "claude", "codex": "codex", "gemini": "gemini_cli", "kimi": "kimi"}


class World:
    """Vendors, one login of each, and a daemon."""

    def __init__(self, directory: Path) -> None:
        self.provider = IdentityProvider()
        self.vendors = OAuthUpstream(self.provider)
        self.vendors.add_to(self.provider.app)
        self.server = Upstream(self.provider.app)
        self.folder = directory / "auth"
        self.folder.mkdir()
        for vendor in MODELS:
            data = auth_file(self.provider.login(vendor, "u"))
            (self.folder / f"{vendor}.json").write_bytes(orjson.dumps(data))
        self.daemon = RunningDaemon(self.config(directory), directory)

    def config(self, directory: Path) -> dict[str, Any]:
        settings = oauth_settings(self.server.url)
        for vendor, plugin in PLUGINS.items():
            settings[plugin]["base-url"] = f"{self.server.url}/api/{vendor}"
        return {
            "host": "127.0.0.1",
            "port": free_port(),
            "auth-dir": str(directory / "auth"),
            "api-keys": [KEY],
            "usage-database-path": str(directory / "usage.sqlite"),
            "plugins": {"configs": settings},
        }

    def post(self, path: str, body: dict[str, Any], **headers: str) -> tuple[int, bytes]:
        """What the daemon answers."""
        request = urllib.request.Request(
            self.daemon.url + path,
            data=orjson.dumps(body),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {KEY}", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as fault:
            return fault.code, fault.read()

    def file(self, vendor: str) -> dict[str, Any]:
        data: dict[str, Any] = orjson.loads((self.folder / f"{vendor}.json").read_bytes())
        return data


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("oauth"))
    yield world
    assert world.daemon.stop() == 0, world.daemon.output()
    world.server.stop()


def openai(world: World, model: str, text: str, stream: bool) -> tuple[int, bytes]:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
    return world.post("/v1/chat/completions", body)


def responses(world: World, model: str, text: str, stream: bool) -> tuple[int, bytes]:
    return world.post("/v1/responses", {"model": model, "input": text, "stream": stream})


def claude(world: World, model: str, text: str, stream: bool) -> tuple[int, bytes]:
    message = {"role": "user", "content": text}
    return world.post("/v1/messages", {"model": model, "max_tokens": 50, "messages": [message], "stream": stream})


def gemini(world: World, model: str, text: str, stream: bool) -> tuple[int, bytes]:
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    body = {"contents": [{"role": "user", "parts": [{"text": text}]}]}
    return world.post(f"/v1beta/models/{model}:{method}", body)


CLIENTS = [openai, responses, claude, gemini]
ENDS = {openai: b"[DONE]", responses: b"response.completed", claude: b"message_stop", gemini: b'"STOP"'}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("vendor", MODELS)
def test_every_client_is_answered_by_every_vendor(
    vendor: str, client: Callable[..., tuple[int, bytes]], stream: bool, world: World
) -> None:
    status, content = client(world, MODELS[vendor], "hello", stream)
    assert status == 200, content
    assert b"You sai" in content
    assert (ENDS[client] in content) is stream or client is gemini
    seen = world.vendors.seen[-1]
    assert seen.vendor == vendor
    assert seen.headers["user-agent"].startswith(("cpa/", "Python-urllib"))
    assert KEY not in orjson.dumps(seen.headers).decode()


def test_vendors_are_told_what_they_need_to_serve_a_login(world: World) -> None:
    for vendor in MODELS:
        openai(world, MODELS[vendor], "hello", False)
    told = {seen.vendor: seen for seen in world.vendors.seen[-4:]}
    assert "oauth-2025-04-20" in told["claude"].headers["anthropic-beta"]
    assert told["claude"].headers["user-agent"].startswith("cpa/")
    assert told["codex"].headers["chatgpt-account-id"] == "acc"
    assert told["codex"].headers["originator"] == "cpa"
    assert told["codex"].headers["session_id"]
    assert told["codex"].body["store"] is False
    assert told["gemini"].body["project"] == "p1"
    assert told["gemini"].body["model"] == "gemini-2.5-pro"
    assert "contents" in told["gemini"].body["request"]
    assert told["gemini"].headers["user-agent"].startswith("cpa/")
    assert told["kimi"].headers["x-msh-device-id"] == "device-1"
    assert told["kimi"].headers["x-msh-platform"] == "cpa"
    assert told["kimi"].body["model"] == "k2.6"


def test_a_clients_own_betas_and_identity_are_forwarded(world: World) -> None:
    body = {"model": MODELS["claude"], "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
    agent = {"User-Agent": "claude-cli/2.0", "Anthropic-Beta": "files-api-2025-04-14"}
    assert world.post("/v1/messages", body, **agent)[0] == 200
    seen = world.vendors.seen[-1].headers
    assert seen["user-agent"] == "claude-cli/2.0"
    assert seen["anthropic-beta"].split(",")[0] == "files-api-2025-04-14"
    assert "oauth-2025-04-20" in seen["anthropic-beta"].split(",")


def test_kimi_answers_messages_clients_in_their_own_format(world: World) -> None:
    status, content = claude(world, MODELS["kimi"], "hello", False)
    assert status == 200
    assert world.vendors.seen[-1].path == "/api/kimi/v1/messages?beta=true"
    assert orjson.loads(content)["model"] == MODELS["kimi"]


@pytest.mark.parametrize("vendor", ["claude", "gemini", "kimi"])
def test_tokens_are_counted_by_the_vendor(vendor: str, world: World) -> None:
    body = {"model": MODELS[vendor], "messages": [{"role": "user", "content": "hi"}]}
    status, content = world.post("/v1/messages/count_tokens", body)
    assert status == 200
    assert orjson.loads(content)["input_tokens"] == 42
    if vendor == "gemini":
        assert set(world.vendors.seen[-1].body) == {"request"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("vendor", MODELS)
def test_a_token_that_ends_early_is_renewed_and_the_client_notices_nothing(
    vendor: str, stream: bool, world: World
) -> None:
    world.provider.end_tokens()
    calls, refused = len(world.provider.calls), world.vendors.refused
    status, content = openai(world, MODELS[vendor], "again", stream)
    assert status == 200, content
    assert b"You sai" in content
    assert len(world.provider.calls) == calls + 1
    assert world.vendors.refused == refused + 1
    place = world.file(vendor)["token"] if vendor == "gemini" else world.file(vendor)
    assert place["refresh_token"] == world.provider.logins[vendor, "u"].refresh_token


@pytest.mark.parametrize("vendor", MODELS)
def test_ten_requests_that_are_refused_at_once_refresh_once(vendor: str, world: World) -> None:
    world.provider.end_tokens()
    world.provider.delay = 0.3
    calls = len(world.provider.calls)
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda number: openai(world, MODELS[vendor], "many", number % 2 == 0), range(10)))
    world.provider.delay = 0.0
    assert [status for status, _ in answers] == [200] * 10
    assert len(world.provider.calls) == calls + 1


def test_a_login_that_is_over_is_named_and_its_vendor_not_asked_again(world: World) -> None:
    login = world.provider.logins["kimi", "u"]
    world.provider.end_tokens()
    login.revoked = True
    status, content = openai(world, MODELS["kimi"], "over", False)
    assert status in (401, 503), content
    calls = len(world.provider.calls)
    for _ in range(3):
        assert openai(world, MODELS["kimi"], "over", False)[0] in (401, 503)
    assert len(world.provider.calls) == calls
    assert "log in again" in world.daemon.output()
    login.revoked = False
    login.access = "at-kimi-fresh"
    (world.folder / "kimi.json").write_bytes(orjson.dumps(auth_file(login)))
    for _ in range(100):
        status, content = openai(world, MODELS["kimi"], "back", False)
        if status == 200:
            break
        time.sleep(0.05)
    assert status == 200, content


def test_no_token_is_ever_printed(world: World) -> None:
    output = world.daemon.output()
    assert "login refreshed" in output
    for call in world.provider.calls:
        assert call["refresh_token"] not in output
