"""Rows 13, 17, 22: what the daemon can be made to send, and to whom; what a plugin can do to it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer

from cpa.config import ConfigStore
from cpa.management.answers import Refusal
from cpa.plugins import hookimpl
from cpa.plugins.manager import Plugins
from tests.management.conftest import Managed, Start

FORBIDDEN = [
    "http://127.0.0.1/",
    "http://127.0.0.1:8317/v0/management/config",
    "http://127.1.2.3/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://[::1]/",
    "http://[::]/",
    "http://0.0.0.0/",
    "http://0/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[ff02::1]/",
    "http://[::ffff:169.254.169.254]/",
    "http://10.0.0.1/",
    "http://10.255.255.255/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.168.255.255/",
    "http://100.64.0.1/",
    "http://192.0.0.1/",
    "http://192.0.2.1/",
    "http://198.18.0.1/",
    "http://198.51.100.1/",
    "http://203.0.113.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250:1900/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "https://127.0.0.1/",
    "https://192.168.1.1/",
]
MALFORMED = [
    "ftp://example.com/",
    "file:///etc/passwd",
    "gopher://127.0.0.1/",
    "javascript:alert(1)",
    "//example.com/",
    "/v1/models",
    "example.com",
    "http://",
    "http:///path",
    "http://user:secret@api.openai.com/",
    "http://api.openai.com@127.0.0.1/",
    "http://127.0.0.1\\@api.openai.com/",
    "http://api.openai.com\r\nHost: x/",
    "http://exa mple.com/",
    "http://ex\u00e4mple.com/",
    "http://[::1/",
    "http://host:99999/",
    "http://host:port/",
]
REBOUND = [
    ["10.0.0.8"],
    ["93.184.216.34", "10.0.0.8"],
    ["127.0.0.1"],
    ["::1"],
    ["::ffff:169.254.169.254"],
    ["fd00::1"],
]
"""What a name may lead to."""
PANEL_HOSTS = [
    ("claude", "https://api.anthropic.com/api/oauth/usage"),
    ("claude", "https://api.anthropic.com/api/oauth/profile"),
    ("codex", "https://chatgpt.com/backend-api/wham/usage"),
    ("codex", "https://chatgpt.com/backend-api/wham/rate-limit-reset-credits/consume"),
    ("kimi", "https://api.kimi.com/coding/v1/usages"),
    ("gemini", "https://cloudcode-pa.googleapis.com/v1internal:loadCodeAssist"),
    ("gemini", "https://daily-cloudcode-pa.googleapis.com/v1internal:retrieveUserQuotaSummary"),
]
"""Type of a login -> where panels send its token."""
LOGIN = {
    "access_token": "login-token",
    "refresh_token": "again",
    "email": "me@example.com",
    "expired": "2099-01-01T00:00:00Z",
    "project_id": "p",
    "token": {"access_token": "login-token", "expiry": "2099-01-01T00:00:00Z"},
}


def test_trust_row_13_the_table_is_long() -> None:
    assert len({*FORBIDDEN, *MALFORMED}) >= 60


@pytest.mark.parametrize("url", FORBIDDEN)
async def test_trust_row_13_nothing_inside_is_reached(managed: Managed, url: str) -> None:
    answer = await managed.call("POST", "/api-call", {"method": "GET", "url": url})
    assert (answer.status, answer.json["error"]) == (403, "address not allowed"), answer


@pytest.mark.parametrize("url", MALFORMED)
async def test_trust_row_13_what_is_no_plain_web_address_is_refused(managed: Managed, url: str) -> None:
    answer = await managed.call("POST", "/api-call", {"method": "GET", "url": url})
    assert (answer.status, answer.json["error"]) == (400, "invalid url"), answer


@pytest.mark.parametrize("addresses", REBOUND)
async def test_trust_row_13_a_name_that_leads_inside_is_refused(
    managed: Managed, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    asked = 0

    async def resolve(self: Any, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        nonlocal asked
        asked += 1
        common = {"hostname": host, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        return [{"host": address, **common} for address in addresses]

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)
    answer = await managed.call("POST", "/api-call", {"method": "GET", "url": "http://rebind.example/"})
    assert (answer.status, answer.json["error"]) == (403, "address not allowed")
    assert asked == 1


async def test_trust_row_13_the_address_that_was_looked_at_is_the_one_that_is_used(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when it is checked and private a moment later is asked for once only."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])
    connected: list[Any] = []

    async def resolve(self: Any, host: str, port: int = 0, family: int = 0) -> list[dict[str, Any]]:
        common = {"hostname": host, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}
        return [{"host": address, **common} for address in next(answers)]

    original = aiohttp.connector.aiohappyeyeballs.start_connection

    async def connect(addr_infos: Any, **options: Any) -> Any:
        if addr_infos[0][4][1] != 80:
            return await original(addr_infos, **options)  # the test's own question
        connected.append(list(addr_infos))
        raise OSError("far away")

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", resolve)
    monkeypatch.setattr("aiohttp.connector.aiohappyeyeballs.start_connection", connect)
    answer = await managed.call("POST", "/api-call", {"method": "GET", "url": "http://rebind.example/"})
    assert (answer.status, answer.json["error"]) == (502, "request failed")
    assert "93.184.216.34" in repr(connected)
    assert "127.0.0.1" not in repr(connected)


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[TestServer, list[web.Request]]]:
    """A provider that notes what it is asked and sends everybody away."""
    seen: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request)
        if "away" in request.path:
            raise web.HTTPFound("http://127.0.0.1:1/secret")
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": "Hi"}}]})

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield server, seen
    await server.close()


async def with_key(start: Start, server: TestServer, **entry: Any) -> tuple[Managed, str]:
    base = str(server.make_url("")).rstrip("/")
    headers = "".join(f", {name}: {value!r}" for name, value in entry.items())
    daemon: Managed = await start(
        f"openai-compatibility: [{{name: up, base-url: '{base}', models: [{{name: m}}], "
        f"api-key-entries: [{{api-key: upstream-secret}}]{headers}}}]\n"
    )
    shown = (await daemon.call("GET", "/openai-compatibility")).json["openai-compatibility"][0]
    return daemon, shown["api-key-entries"][0]["auth-index"]


async def test_trust_row_13_a_redirect_is_an_answer_and_takes_no_token_along(
    start: Start, upstream: tuple[TestServer, list[web.Request]]
) -> None:
    server, seen = upstream
    daemon, index = await with_key(start, server)
    asked = {
        "auth_index": index,
        "method": "GET",
        "url": str(server.make_url("/away")),
        "header": {"Authorization": "Bearer $TOKEN$", "Host": "evil.test"},
    }
    told = (await daemon.call("POST", "/api-call", asked)).json
    assert (told["status_code"], len(seen)) == (302, 1)
    assert seen[0].headers["Host"] != "evil.test"


@pytest.mark.parametrize(("kind", "url"), PANEL_HOSTS)
async def test_trust_row_13_a_login_goes_where_panels_send_it_and_nowhere_else(
    managed: Managed, monkeypatch: pytest.MonkeyPatch, kind: str, url: str
) -> None:
    sent: list[Any] = []

    async def send(self: Any, asked: Any, configured: bool) -> Any:
        sent.append(asked)
        raise Refusal(502, "request failed")

    monkeypatch.setattr("cpa.management.api_call.ApiCall._send", send)
    assert (await managed.call("POST", "/auth-files?name=l.json", {"type": kind, **LOGIN})).status == 200
    index = next(f["auth_index"] for f in (await managed.call("GET", "/auth-files")).json["files"])
    body = {"authIndex": index, "method": "GET", "url": url, "header": {"Authorization": "Bearer $TOKEN$"}}
    assert (await managed.call("POST", "/api-call", body)).status == 502
    assert sent[0].headers["Authorization"] == "Bearer login-token"
    for wrong in ("https://evil.test/", url.replace("https:", "http:"), url.replace(".com", ".com.evil.test")):
        answer = await managed.call("POST", "/api-call", {**body, "url": wrong})
        assert (answer.status, answer.json["error"]) == (403, "host not allowed for this credential"), wrong
    assert len(sent) == 1


CONTROL = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\0b", "a\x7fb", "\r\n\r\nGET /evil HTTP/1.1"]


@pytest.mark.parametrize("value", CONTROL)
async def test_trust_row_22_no_header_of_a_call_can_be_two(
    start: Start, upstream: tuple[TestServer, list[web.Request]], value: str
) -> None:
    server, seen = upstream
    daemon, _ = await with_key(start, server)
    url = str(server.make_url("/"))
    for header in ({"X-A": value}, {value: "a"}):
        answer = await daemon.call("POST", "/api-call", {"method": "GET", "url": url, "header": header})
        assert answer.status == 400
    for method, target in (("GET" + value, url), ("GET", url + value)):
        answer = await daemon.call("POST", "/api-call", {"method": method, "url": target})
        assert answer.status == 400
    assert seen == []


@pytest.mark.parametrize("value", CONTROL)
async def test_trust_row_22_neither_models_nor_client_headers_reach_the_wire_as_lines(
    start: Start, upstream: tuple[TestServer, list[web.Request]], value: str
) -> None:
    server, seen = upstream
    daemon, _ = await with_key(start, server)
    messages = [{"role": "user", "content": "hi"}]
    for model in ("m" + value, "m(" + value + ")"):
        async with daemon.session.post(
            f"{daemon.url}/v1/chat/completions", json={"model": model, "messages": messages}
        ) as answer:
            assert answer.status in ((404,) if model.startswith("ma") else (200, 400, 404))
    assert all("X-Evil" not in request.headers and "evil" not in request.path for request in seen)


@pytest.mark.parametrize("value", CONTROL)
async def test_trust_row_22_a_header_of_the_configuration_is_one_header_or_none(
    start: Start, upstream: tuple[TestServer, list[web.Request]], value: str
) -> None:
    server, seen = upstream
    daemon, _ = await with_key(start, server)
    answer = await daemon.call("PATCH", "/openai-compatibility", {"index": 0, "value": {"headers": {"X-A": value}}})
    assert answer.status in (200, 400)
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    async with daemon.session.post(f"{daemon.url}/v1/chat/completions", json=body) as told:
        assert told.status in (200, 400, 502)
    assert all("X-Evil" not in request.headers and "evil" not in request.path for request in seen)


class Crashing:
    """Fails in every hook a request passes."""

    @hookimpl
    def cpa_edit_request(self, request: Any, body: Any) -> Any:
        raise RuntimeError("crash")

    @hookimpl
    def cpa_usage(self, record: Any) -> None:
        raise RuntimeError("crash")

    @hookimpl
    def cpa_models_registered(self, provider: str) -> None:
        raise RuntimeError("crash")


async def test_trust_row_17_a_crashing_plugin_fails_no_daemon(start: Start) -> None:
    daemon: Managed = await start()
    daemon.daemon.plugins.register(Crashing(), "crashing", daemon.daemon.store.current)
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
    for _ in range(3):
        async with daemon.session.post(f"{daemon.url}/v1/chat/completions", json=body) as answer:
            assert answer.status in (200, 500)
    assert (await daemon.call("GET", "/config")).status == 200


def test_trust_row_17_a_plugin_that_is_off_is_never_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plugin_that_must_not_run.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "config.yaml"
    path.write_text("plugins: {configs: {off: {enabled: false}}}\n")
    plugins = Plugins(structlog.get_logger())
    plugins.load(ConfigStore(path, {}).current, [EntryPoint("off", "plugin_that_must_not_run", "cpa")])
    assert [(status.name, status.state) for status in plugins.statuses] == [("off", "disabled")]
    assert "plugin_that_must_not_run" not in sys.modules


async def test_trust_row_13_one_slow_call_holds_up_nobody_else(
    start: Start, upstream: tuple[TestServer, list[web.Request]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(asked: Any) -> Any:
        await asyncio.sleep(30)

    monkeypatch.setattr("cpa.management.api_call._send_public", send)
    daemon, _ = await with_key(start, upstream[0])
    slow = asyncio.create_task(daemon.call("POST", "/api-call", {"method": "GET", "url": "https://slow.example/"}))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        assert (await daemon.call("GET", "/debug")).status == 200
    slow.cancel()
    await asyncio.gather(slow, return_exceptions=True)
