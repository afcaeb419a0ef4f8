"""Which clients are let in, and how others are told."""

from __future__ import annotations

from typing import Any

import pytest

from cpa.config.load import load_text
from cpa.network import client_address, is_loopback, is_loopback_origin
from tests.server.conftest import ROUTES, Serve, Served


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer right"},
        {"Authorization": "bearer  right"},
        {"Authorization": "right"},
        {"X_Goog_Api_Key": "right"},
        {"X_Api_Key": " right "},
        {"X_Api_Key": "right", "Authorization": "Bearer wrong"},
    ],
)
async def test_a_key_may_stand_in_every_usual_header(serve: Serve, headers: dict[str, str]) -> None:
    served: Served = await serve("api-keys: [other, right]\n")
    assert (await served.ask("openai", **headers)).status == 200


@pytest.mark.parametrize("query", ["key=right", "auth_token=right"])
async def test_a_key_may_stand_in_the_query(serve: Serve, query: str) -> None:
    served: Served = await serve("api-keys: [right]\n")
    assert (await served.post(f"/v1/chat/completions?{query}", ROUTES["openai"][1])).status == 200


ENVELOPES: dict[str, tuple[str, Any]] = {
    "openai": ("error", {"message", "type", "param", "code"}),
    "openai-response": ("error", {"message", "type", "param", "code"}),
    "claude": ("error", {"type", "message"}),
    "gemini": ("error", {"code", "message", "status"}),
}


@pytest.mark.parametrize("name", ROUTES)
async def test_a_missing_or_wrong_key_is_told_in_the_clients_format(serve: Serve, name: str) -> None:
    served: Served = await serve("api-keys: [right]\n")
    for headers, message in (({}, "Missing API key"), ({"X_Api_Key": "wrong"}, "Invalid API key")):
        answer = await served.ask(name, **headers)
        member, fields = ENVELOPES[name]
        assert answer.status == 401
        assert answer.json[member]["message"] == message
        assert set(answer.json[member]) >= fields - {"param", "code"}
        assert "right" not in answer.body.decode()


async def test_keys_are_asked_for_on_every_route_for_clients(serve: Serve) -> None:
    served: Served = await serve("api-keys: [right]\n")
    for path in ("/v1/models", "/v1/models/demo", "/v1beta/models", "/v1beta/models/demo"):
        assert (await served.get(path)).status == 401, path
    for path in ("/v1/completions", "/v1/messages/count_tokens", "/v1/images/generations", "/v1/responses/compact"):
        assert (await served.post(path, {"model": "demo"})).status == 401, path
    for path in ("/", "/healthz"):
        assert (await served.get(path)).status == 200, path


async def test_a_new_list_of_keys_counts_from_the_next_request(serve: Serve) -> None:
    served: Served = await serve("api-keys: [one]\n")
    path = served.daemon.store.path
    path.write_text(path.read_text().replace("[one]", "[two]"))
    served.daemon.store.reload()
    assert (await served.ask("openai", X_Api_Key="one")).status == 401
    assert (await served.ask("openai", X_Api_Key="two")).status == 200


async def test_without_keys_only_this_machine_is_served(serve: Serve) -> None:
    served: Served = await serve("trusted-proxies: [127.0.0.1]\n")
    assert (await served.ask()).status == 200
    remote = await served.ask("claude", X_Forwarded_For="8.8.8.8")
    assert (remote.status, remote.json["error"]["type"]) == (403, "permission_error")
    allowed: Served = await serve("trusted-proxies: [127.0.0.1]\nallow-unauthenticated-remote: true\n")
    assert (await allowed.ask("openai", X_Forwarded_For="8.8.8.8")).status == 200


async def test_forwarded_addresses_of_strangers_mean_nothing(serve: Serve) -> None:
    served: Served = await serve()
    assert (await served.ask("openai", X_Forwarded_For="8.8.8.8")).status == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "address"),
    [
        ("8.8.8.8", "127.0.0.1", (), "8.8.8.8"),
        ("8.8.8.8", "127.0.0.1", ("10.0.0.0/8",), "8.8.8.8"),
        ("10.0.0.1", "1.1.1.1, 8.8.8.8", ("10.0.0.0/8",), "8.8.8.8"),
        ("10.0.0.1", "1.1.1.1, 10.0.0.2", ("10.0.0.0/8",), "1.1.1.1"),
        ("10.0.0.1", "", ("10.0.0.0/8",), "10.0.0.1"),
        ("::1", "8.8.8.8", ("::1",), "8.8.8.8"),
    ],
)
def test_the_nearest_hop_that_is_not_trusted_is_the_client(
    peer: str, forwarded: str, trusted: tuple[str, ...], address: str
) -> None:
    assert client_address(peer, forwarded, trusted) == address


@pytest.mark.parametrize(
    ("address", "own"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True), ("10.0.0.1", False)],
)
def test_every_loopback_address_is_this_machine(address: str, own: bool) -> None:
    assert is_loopback(address) is own


# -- web pages -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8317", "localhost.evil.example"])
async def test_a_page_that_rebinds_its_name_is_kept_out(serve: Serve, host: str) -> None:
    served: Served = await serve()
    for path in ("/v1/models", "/healthz", "/v0/management/config"):
        assert (await served.get(path, Host=host)).status == 421, path


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:1", "LOCALHOST", "192.168.1.5", "mine.example"])
async def test_own_names_addresses_and_listed_names_are_let_in(serve: Serve, host: str) -> None:
    served: Served = await serve("allowed-hosts: [Mine.example]\n")
    assert (await served.get("/v1/models", Host=host)).status == 200


async def test_pages_get_no_permission_unless_they_are_listed(serve: Serve) -> None:
    served: Served = await serve("cors-origins: ['https://tool.example']\n")
    foreign = await served.get("/v1/models", Origin="https://evil.example")
    assert "Access-Control-Allow-Origin" not in foreign.headers
    listed = await served.get("/v1/models", Origin="https://tool.example")
    assert listed.headers["Access-Control-Allow-Origin"] == "https://tool.example"
    assert listed.headers["Vary"] == "Origin"


async def test_a_preflight_is_answered_without_a_key_and_gives_strangers_nothing(serve: Serve) -> None:
    served: Served = await serve("api-keys: [k]\n")
    answer = await served.get(
        "/v1/messages", "OPTIONS", Origin="https://evil.example", Access_Control_Request_Headers="x-api-key"
    )
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] != "https://evil.example"
    assert answer.headers["Access-Control-Allow-Headers"] == "x-api-key"


PAGES = [
    ({"Origin": "https://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Sec_Fetch_Site": "cross-site"}, 403),
    ({"Origin": "http://localhost:3000"}, 200),
    ({"Origin": "https://tool.example"}, 200),
    ({"Origin": "app://tool"}, 200),
    ({"Sec_Fetch_Site": "none"}, 200),
]


@pytest.mark.parametrize(("headers", "status"), PAGES)
async def test_a_page_of_somebody_else_cannot_spend_what_is_the_owners(
    serve: Serve, headers: dict[str, str], status: int
) -> None:
    served: Served = await serve("cors-origins: ['https://tool.example']\n")
    answer = await served.ask("openai", **headers, Content_Type="text/plain")
    assert answer.status == status
    if status == 403:
        assert answer.json["error"]["code"] == "page_without_key"


async def test_a_page_with_a_key_is_a_client_like_others(serve: Serve) -> None:
    served: Served = await serve("api-keys: [right]\n")
    assert (await served.ask("openai", Origin="https://evil.example", X_Api_Key="right")).status == 200


async def test_keys_of_the_example_are_worth_nothing_from_elsewhere(serve: Serve) -> None:
    served: Served = await serve("api-keys: [your-api-key-1]\ntrusted-proxies: [127.0.0.1]\n")
    assert any("everybody knows" in warning.message for warning in served.daemon.store.loaded.warnings)
    assert (await served.ask("openai", X_Api_Key="your-api-key-1")).status == 200
    remote = await served.ask("openai", X_Api_Key="your-api-key-1", X_Forwarded_For="8.8.8.8")
    assert (remote.status, remote.json["error"]["code"]) == (403, "unsafe_example_api_key")
    behind = await served.ask("openai", X_Api_Key="your-api-key-1", X_Real_IP="8.8.8.8")
    assert behind.status == 403


@pytest.mark.parametrize(
    ("origin", "own"),
    [
        ("http://localhost:3000", True),
        ("http://127.0.0.1", True),
        ("http://[::1]:1", True),
        ("null", False),
        ("http://localhost.evil.example", False),
        ("http://[", False),
    ],
)
def test_pages_of_this_machine_are_recognised(origin: str, own: bool) -> None:
    assert is_loopback_origin(origin) is own


def test_blank_and_repeated_keys_are_dropped() -> None:
    assert load_text("api-keys: ['', a, ' a ', b]\n", environ={}).config.api_keys == ("a", "b")
