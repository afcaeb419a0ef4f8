"""Rows 1, 4, 5, 28, 32: who reaches the daemon, who guesses its key, and whom it tells what."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from tests.management.conftest import ENDLESS, HASH, KEY, Managed, Start

ASKED = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}


class Listening:
    """A daemon that listens where the configuration says."""

    def __init__(self, folder: Path, host: str, more: str = "") -> None:
        path = folder / "config.yaml"
        path.write_text(
            f"host: '{host}'\nport: 0\nauth-dir: {folder}/auth\nremote-management:\n  secret-key: '{HASH}'\n{more}"
        )
        self.daemon = Daemon(ConfigStore(path, {}), {})

    async def __aenter__(self) -> int:
        await self.daemon.start()
        return int(self.daemon.addresses[0].rpartition(":")[2])

    async def __aexit__(self, *_: object) -> None:
        await self.daemon.stop()


async def ask(host: str, port: int, **headers: str) -> int:
    """The status of a client's request; 0 when nobody listens there."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{host}:{port}/v1/chat/completions", json=ASKED, headers=headers) as answer,
        ):
            return answer.status
    except aiohttp.ClientConnectorError:
        return 0


@pytest.mark.parametrize(
    ("host", "more", "here", "elsewhere"),
    [
        ("127.0.0.1", "", 200, 0),
        ("", "", 200, 403),
        ("0.0.0.0", "", 200, 403),
        ("", "api-keys: [right]\n", 401, 401),
        ("", "api-keys: [your-api-key-1]\n", 401, 401),
        ("", "allow-unauthenticated-remote: true\n", 200, 200),
    ],
)
async def test_trust_row_01_what_is_open_to_the_network_without_a_key_serves_this_machine_only(
    tmp_path: Path, other_address: str, host: str, more: str, here: int, elsewhere: int
) -> None:
    async with Listening(tmp_path, host, more) as port:
        assert await ask("127.0.0.1", port) == here
        assert await ask(other_address, port) == elsewhere


async def test_trust_row_01_sample_keys_open_nothing_to_the_network(tmp_path: Path, other_address: str) -> None:
    async with Listening(tmp_path, "", "api-keys: [your-api-key-1, right]\n") as port:
        assert await ask(other_address, port, Authorization="Bearer your-api-key-1") == 403
        assert await ask(other_address, port, Authorization="Bearer right") == 200


def test_trust_row_01_the_example_listens_on_loopback() -> None:
    example = Path(__file__).parents[2] / "config" / "config.example.yaml"
    assert ConfigStore(example, {}).current.host == "127.0.0.1"
    assert ConfigStore(example, {}).current.api_keys == ()


async def test_trust_row_04_a_thousand_wrong_keys_cost_five_checks_and_harm_nobody_else(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon: Managed = await start("trusted-proxies: [127.0.0.1]\n")
    daemon.edit(daemon.file.replace("remote-management:\n", "remote-management:\n  allow-remote: true\n"))
    checked: list[str] = []
    original = "cpa.management.access._bcrypt_matches"

    def check(key: str, hashed: str) -> bool:
        checked.append(key)
        return key == KEY

    monkeypatch.setattr(original, check)

    async def guess(number: int) -> int:
        answer = await daemon.call("GET", "/debug", key=f"guess-{number}", X_Forwarded_For="192.0.2.66")
        return answer.status

    statuses = [await guess(number) for number in range(10)]
    statuses += await asyncio.gather(*(guess(number) for number in range(10, 1000)))
    assert statuses[:5] == [401] * 5
    assert set(statuses[5:]) == {403}
    assert len(checked) == 5
    assert (await daemon.call("GET", "/debug", X_Forwarded_For="192.0.2.67")).status == 200
    assert (await daemon.call("GET", "/debug", X_Forwarded_For="192.0.2.66")).status == 403
    async with daemon.session.get(f"{daemon.url}/healthz") as health:
        assert health.status == 200


async def test_trust_row_05_a_forwarded_address_makes_nobody_local(tmp_path: Path, other_address: str) -> None:
    async with Listening(tmp_path, "") as port, aiohttp.ClientSession() as session:
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP", "X_Forwarded_For"):
            for value in ("127.0.0.1", "::1", "for=127.0.0.1"):
                headers = {name: value, "Authorization": f"Bearer {KEY}"}
                async with session.get(f"http://{other_address}:{port}/v0/management/debug", headers=headers) as answer:
                    assert (answer.status, await answer.json()) == (403, {"error": "remote management disabled"})
        headers = {"X-Forwarded-For": "8.8.8.8", "Authorization": f"Bearer {KEY}"}
        async with session.get(f"http://127.0.0.1:{port}/v0/management/debug", headers=headers) as answer:
            assert answer.status == 200


SHOWS_KEYS = {"/config", "/config.yaml", "/api-keys", "/ampcode", "/ampcode/upstream-api-keys"}
"""What panels edit the configuration with."""


async def test_trust_row_28_client_keys_are_shown_by_nothing_but_the_configuration(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = "client-key-canary-0123456789"
    daemon: Managed = await start(f"api-keys: [{canary}]\nusage-statistics-enabled: true\nlogging-to-file: true\n")
    for key in (canary, canary + "x"):
        headers = {"Authorization": f"Bearer {key}"}
        async with daemon.session.post(f"{daemon.url}/v1/chat/completions", json=ASKED, headers=headers) as answer:
            assert answer.status == (200 if key == canary else 401)
    document = (await daemon.call("GET", "/openapi.json")).json
    asked = 0
    for path, operations in document["paths"].items():
        name = path.removeprefix("/v0/management")
        if "get" in operations and "{" not in path and name not in SHOWS_KEYS and name != ENDLESS:
            told = await daemon.call("GET", name)
            assert canary.encode() not in told.body, name
            asked += 1
    assert asked > 30
    assert canary not in capsys.readouterr().out


async def test_trust_row_32_an_idle_daemon_and_its_management_api_call_nobody(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[Any] = []
    connect, resolve = socket.socket.connect_ex, asyncio.base_events.BaseEventLoop.getaddrinfo

    async def getaddrinfo(self: Any, host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in ("127.0.0.1", "::1", "localhost", None):
            called.append(host)
        return await resolve(self, host, *arguments, **options)

    def connect_ex(self: Any, address: Any) -> int:
        called.append(address)
        return connect(self, address)

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    daemon: Managed = await start("usage-statistics-enabled: true\n")
    document = (await daemon.call("GET", "/openapi.json")).json
    for path, operations in document["paths"].items():
        if "get" in operations and "{" not in path and not path.endswith(("-auth-url", ENDLESS)):
            await daemon.call("GET", path.removeprefix("/v0/management"))
    assert called == []
    assert (await daemon.call("GET", "/latest-version")).status == 200
