"""Rows 2, 3, 6, 7, 8: a web page in the owner's browser tries to use the daemon."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

import aiohttp
import pytest

from tests.management.conftest import KEY, Managed, Start

EVIL = "https://evil.test"
ASKED = b'{"model": "demo", "messages": [{"role": "user", "content": "hi"}]}'
CLIENT_ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses", "/v1/embeddings")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
@pytest.mark.parametrize("origin", [EVIL, "null", "http://evil.test:8317"])
async def test_trust_row_02_a_page_cannot_ask_with_the_owners_accounts(
    managed: Managed, origin: str, content_type: str
) -> None:
    headers = {"Origin": origin, "Content-Type": content_type}
    for path in ("/v1/chat/completions", "/v1/messages"):
        async with managed.session.post(managed.url + path, data=ASKED, headers=headers) as answer:
            assert answer.status in (403, 415), path
            assert "Access-Control-Allow-Origin" not in answer.headers
    async with managed.session.post(managed.url + "/v1/chat/completions", data=ASKED) as own:
        assert own.status == 200


async def test_trust_row_02_no_preflight_lets_a_page_in(managed: Managed) -> None:
    for path in (*CLIENT_ROUTES, "/v0/management/config", "/v0/management/api-call"):
        headers = {"Origin": EVIL, "Access-Control-Request-Method": "POST"}
        async with managed.session.options(managed.url + path, headers=headers) as answer:
            allowed = answer.headers.get("Access-Control-Allow-Origin")
            assert allowed not in ("*", EVIL), path
            if path.startswith("/v0/management"):
                assert allowed is None


async def test_trust_row_03_a_name_that_was_led_here_is_refused_on_every_route(managed: Managed) -> None:
    document = (await managed.call("GET", "/openapi.json")).json
    routes = [
        (method.upper(), re.sub(r"{\w+}", "x", path)) for path, found in document["paths"].items() for method in found
    ]
    routes += [("POST", path) for path in CLIENT_ROUTES]
    routes += [("GET", path) for path in ("/", "/healthz", "/v1/models", "/v1beta/models", "/management.html")]
    for method, path in routes:
        for host in ("evil.test", "evil.test:8317", "127.0.0.1.evil.test"):
            async with managed.session.request(
                method, managed.url + path, headers={"Host": host, "Authorization": f"Bearer {KEY}"}
            ) as answer:
                assert answer.status == 421, (method, path, host)


async def test_trust_row_03_nor_may_it_open_a_websocket(managed: Managed) -> None:
    for path in ("/v1/responses", "/v1/chat/completions", "/v0/management/logs"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await managed.session.ws_connect(managed.url + path, headers={"Host": "evil.test"})
        assert refused.value.status == 421


WRITES: list[tuple[str, str, bytes]] = [
    ("POST", "/auth-files?name=x.json", b'{"type":"codex"}'),
    ("PUT", "/debug", b'{"value":true}'),
    ("PATCH", "/api-keys", b'{"old":null,"new":"evil"}'),
    ("DELETE", "/api-keys?index=0", b""),
    ("PUT", "/config.yaml", b"debug: true\n"),
    ("DELETE", "/auth-files?all=true", b""),
    ("POST", "/api-call", b'{"method":"GET","url":"https://evil.test/"}'),
    ("POST", "/usage/import", b'{"usage":{}}'),
]


@pytest.mark.parametrize("headers", [{"Origin": EVIL}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_trust_row_06_a_page_changes_nothing_even_if_it_knew_the_key(
    start: Start, headers: dict[str, str]
) -> None:
    daemon: Managed = await start("api-keys: [mine]\n")
    before = daemon.file
    for method, path, body in WRITES:
        answer = await daemon.call(method, path, data=body, **headers)
        assert (answer.status, answer.json["error"]) == (403, "origin not allowed"), path
    assert daemon.file == before


async def test_trust_row_06_no_request_is_let_in_by_what_a_browser_adds_itself(managed: Managed) -> None:
    for headers in (
        {"Cookie": f"key={KEY}; Authorization={KEY}; management={KEY}"},
        {"Referer": f"{managed.url}/management.html"},
        {"Origin": managed.url},
        {"Sec_Fetch_Site": "same-origin"},
    ):
        answer = await managed.call("GET", "/config", key=None, **headers)
        assert answer.status == 401, headers
        assert "Set-Cookie" not in answer.headers
    for query in (f"key={KEY}", f"management_key={KEY}", f"Authorization={KEY}"):
        assert (await managed.call("GET", f"/config?{query}", key=None)).status == 401


PAYLOADS = [
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "javascript:alert(1)",
    "\"onmouseover='alert(1)",
    "</pre><iframe src=//evil.test>",
    "${alert(1)}",
    "{{constructor.constructor('alert(1)')()}}",
]


@pytest.mark.parametrize("payload", PAYLOADS)
async def test_trust_row_07_nothing_of_a_request_becomes_part_of_the_page(start: Start, payload: str) -> None:
    daemon: Managed = await start("allowed-hosts: ['*']\n")
    for headers in ({"Host": payload}, {"User-Agent": payload}, {"Referer": payload}):
        async with daemon.session.get(f"{daemon.url}/management.html?{payload}", headers=headers) as answer:
            text = await answer.text()
            if answer.status == 200:
                assert payload not in text, headers
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            else:
                assert answer.status in (400, 421), headers


async def test_trust_row_07_answers_cannot_be_taken_for_pages(managed: Managed) -> None:
    """Whatever stands in them, a browser that opens an answer of the API shows it as data."""
    evil = "<img src=x onerror=alert(1)>"
    await managed.call("PUT", "/api-keys", [evil])
    named = (f"/model-definitions/{evil}", f"/auth-files/models?name={evil}")
    for path in ("/api-keys", "/config", "/config.yaml", *named):
        answer = await managed.call("GET", path)
        assert answer.headers["Content-Type"].split(";")[0] in ("application/json", "application/yaml"), path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_trust_row_08_what_is_shipped_asks_for_nothing_from_elsewhere(
    managed: Managed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for asset in files("cpa.web").iterdir():
        if not asset.name.endswith((".py", ".pyc")) and asset.is_file():
            assert not re.search(r"(https?:)?//\w", asset.read_text()), asset.name
    async with managed.session.get(f"{managed.url}/management.html") as answer:
        loaded: Any = re.findall(r"""(?:src|href)=["']([^"']+)""", await answer.text())
    assert loaded == ["/management.css"]
