"""``POST /api-call``: what it may reach, and with what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from msgspec.structs import replace

from cpa.accounts.account import Account
from cpa.errors import ErrorInfo, UpstreamError
from cpa.exchange.renewal import Renewals
from cpa.upstream.public import is_public
from tests.management.conftest import Managed, Start


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("2606:4700::1111", True), ("::ffff:8.8.8.8", True), ("64:ff9b::808:808", True)],
)
def test_public_addresses_are_told_from_others(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.fixture
async def upstream() -> AsyncIterator[TestServer]:
    async def echo(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/large"):
            return web.Response(body=b"x" * (11 * 1024 * 1024))
        if request.path.endswith("/away"):
            raise web.HTTPFound("http://169.254.169.254/")
        body = {"headers": dict(request.headers), "data": await request.text(), "url": request.path_qs}
        return web.json_response(body, status=500 if request.path.endswith("/fails") else 200)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", echo)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield server
    await server.close()


async def configured(start: Start, upstream: TestServer) -> tuple[Managed, str]:
    """A daemon that knows the upstream, and the index of its key."""
    base = str(upstream.make_url("")).rstrip("/")
    daemon: Managed = await start(f"claude-api-key: [{{api-key: upstream-secret, base-url: '{base}'}}]\n")
    shown = (await daemon.call("GET", "/claude-api-key")).json["claude-api-key"]
    return daemon, shown[0]["auth-index"]


async def test_a_configured_provider_is_reached_with_its_own_key(start: Start, upstream: TestServer) -> None:
    daemon, index = await configured(start, upstream)
    asked = {
        "authIndex": index,
        "method": "post",
        "url": str(upstream.make_url("/v1/models?a=$TOKEN$")),
        "header": {"Authorization": "Bearer $TOKEN$ $TOKEN$", "Connection": "upgrade", "Host": "evil.example"},
        "data": '{"x":"$TOKEN$"}',
    }
    told = (await daemon.call("POST", "/api-call", asked)).json
    assert told["status_code"] == 200
    assert told["header"]["Content-Type"] == ["application/json; charset=utf-8"]
    assert "Bearer upstream-secret upstream-secret" in told["body"]
    assert '"url": "/v1/models?a=$TOKEN$"' in told["body"]
    assert told["body"].count("upstream-secret") == 2
    assert "evil.example" not in told["body"]


async def test_an_upstream_failure_is_an_answer(start: Start, upstream: TestServer) -> None:
    daemon, _ = await configured(start, upstream)
    answer = await daemon.call("POST", "/api-call", {"method": "GET", "url": str(upstream.make_url("/fails"))})
    assert (answer.status, answer.json["status_code"]) == (200, 500)


async def test_redirects_are_not_followed(start: Start, upstream: TestServer) -> None:
    daemon, _ = await configured(start, upstream)
    told = (await daemon.call("POST", "/api-call", {"method": "GET", "url": str(upstream.make_url("/away"))})).json
    assert (told["status_code"], told["header"]["Location"]) == (302, ["http://169.254.169.254/"])


async def test_a_body_that_is_too_large_and_a_dead_host_are_bad_gateways(start: Start, upstream: TestServer) -> None:
    daemon, _ = await configured(start, upstream)
    large = await daemon.call("POST", "/api-call", {"method": "GET", "url": str(upstream.make_url("/large"))})
    assert (large.status, large.json["error"]) == (502, "response too large")
    gone = str(upstream.make_url("/"))
    await upstream.close()
    dead = await daemon.call("POST", "/api-call", {"method": "GET", "url": gone})
    assert (dead.status, dead.json["error"]) == (502, "request failed")


@pytest.mark.parametrize(
    ("url", "status", "error"),
    [
        ("https://evil.example/", 403, "host not allowed for this credential"),
        ("https://api.anthropic.com.evil.example/", 403, "host not allowed for this credential"),
        ("http://api.anthropic.com/", 403, "host not allowed for this credential"),
        ("https://api.anthropic.com:8443/", 403, "host not allowed for this credential"),
        ("https://chatgpt.com/", 403, "host not allowed for this credential"),
    ],
)
async def test_a_key_goes_nowhere_but_to_its_provider(
    start: Start, upstream: TestServer, url: str, status: int, error: str
) -> None:
    daemon, index = await configured(start, upstream)
    asked = {"auth_index": index, "method": "GET", "url": url, "header": {"X-Api-Key": "$TOKEN$"}}
    answer = await daemon.call("POST", "/api-call", asked)
    assert (answer.status, answer.json["error"]) == (status, error)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"url": "http://x.example"}, "missing method"),
        ({"method": "GET"}, "missing url"),
        ({"method": "CONNECT", "url": "http://x.example"}, "invalid method"),
        ({"method": "GET", "url": "http://x.example", "header": []}, "invalid body"),
        ({"method": "GET", "url": "http://x.example", "header": {"A": "b\r\nC: d"}}, "invalid body"),
        ({"method": "GET", "url": "http://x.example", "auth_index": "ffffffffffffffff"}, "auth not found"),
        ({"method": "GET", "url": "http://x.example", "header": {"A": "$TOKEN$"}}, "auth not found"),
    ],
)
async def test_wrong_questions_are_refused(managed: Managed, body: Any, error: str) -> None:
    answer = await managed.call("POST", "/api-call", body)
    assert (answer.status, answer.json["error"]) == (400, error)


async def test_a_call_leaves_one_line_without_secrets(
    start: Start, upstream: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon, index = await configured(start, upstream)
    asked = {
        "auth_index": index,
        "method": "GET",
        "url": str(upstream.make_url("/v1/models?key=query-secret")),
        "header": {"Authorization": "Bearer $TOKEN$"},
    }
    await daemon.call("POST", "/api-call", asked)
    written = capsys.readouterr()
    text = written.out + written.err
    assert "api call" in text
    assert "upstream-secret" not in text
    assert "query-secret" not in text


async def test_a_token_about_to_expire_is_renewed_before_it_is_sent(
    start: Start, upstream: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon, index = await configured(start, upstream)
    asked = {
        "auth_index": index,
        "method": "GET",
        "url": str(upstream.make_url("/")),
        "header": {"Authorization": "Bearer $TOKEN$"},
    }

    async def ready(self: Renewals, account: Account) -> Account:
        return replace(account, secret="renewed-secret")

    monkeypatch.setattr(Renewals, "ready", ready)
    assert "Bearer renewed-secret" in (await daemon.call("POST", "/api-call", asked)).json["body"]

    async def over(self: Renewals, account: Account) -> Account:
        raise UpstreamError(ErrorInfo(401, "log in again"))

    monkeypatch.setattr(Renewals, "ready", over)
    told = await daemon.call("POST", "/api-call", asked)
    assert (told.status, told.json) == (400, {"error": "auth token refresh failed", "message": "log in again"})
