"""Routes as clients meet them: models, ids, paths that are none, streams that are slow."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import orjson
import pytest

from tests.server.conftest import ROUTES, Serve, Served


@pytest.fixture
async def served(serve: Serve) -> Served:
    daemon: Served = await serve()
    return daemon


# -- model lists ---------------------------------------------------------------------------------------------------


async def test_models_come_in_the_shape_the_client_expects(served: Served) -> None:
    plain = (await served.get("/v1/models")).json
    assert plain["object"] == "list"
    assert {"id", "object", "created", "owned_by"} == set(plain["data"][0])
    for headers in ({"Anthropic_Version": "2023-06-01"}, {"User_Agent": "claude-cli/2.0"}):
        claude = (await served.get("/v1/models", **headers)).json
        assert {"data", "has_more", "first_id", "last_id"} == set(claude)
        assert claude["data"][0]["type"] == "model"
    google = (await served.get("/v1/models", X_Goog_Api_Key="any")).json
    assert google["models"][0]["name"].startswith("models/")
    assert (await served.get("/v1beta/models")).json == google
    codex = (await served.get("/v1/models?client_version=1")).json
    assert {"slug", "display_name", "supported_reasoning_levels"} <= set(codex["models"][0])
    assert (await served.get("/backend-api/codex/models?client_version=1")).json == codex


async def test_one_model_is_found_by_its_name_or_not_at_all(served: Served) -> None:
    assert (await served.get("/v1/models/demo")).json["id"] == "demo"
    assert (await served.get("/v1/models/demo", Anthropic_Version="1")).json["type"] == "model"
    assert (await served.get("/v1beta/models/demo")).json["name"] == "models/demo"
    for path in ("/v1/models/none", "/v1beta/models/none"):
        answer = await served.get(path)
        assert answer.status == 404
        assert "none" in answer.json["error"]["message"]


async def test_an_unknown_model_is_told_in_the_clients_format(served: Served) -> None:
    for name, (path, body) in ROUTES.items():
        wrong = path.replace("demo", "none"), {**body, "model": "none"}
        answer = await served.post(*wrong)
        assert answer.status in (404, 502, 503), (name, answer)
        assert "none" in answer.json["error"]["message"]


# -- paths and ids -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/responses", "/backend-api/codex/responses"])
@pytest.mark.parametrize("upgrade", [True, False])
async def test_who_asks_for_a_websocket_is_told_to_use_http(served: Served, path: str, upgrade: bool) -> None:
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "a"}
    answer = await served.get(path, **(asked if upgrade else {}))
    assert (answer.status, answer.json["error"]["code"]) == (426, "websocket_unsupported")
    assert (await served.get("/healthz")).status == 200


@pytest.mark.parametrize("path", ["/v1/none", "/v2/models", "/v1beta/models/demo:shout", "/favicon.ico"])
async def test_a_path_that_is_none_is_not_found(served: Served, path: str) -> None:
    assert (await served.post(path, {})).status == 404


async def test_a_wrong_method_is_not_found_and_a_trailing_slash_is_forgiven(served: Served) -> None:
    assert (await served.get("/v1/messages")).status == 404
    assert (await served.get("/v1/models/")).status == 200
    path, body = ROUTES["openai"]
    assert (await served.post(f"{path}/", body)).status == 200


async def test_health_and_the_front_door(served: Served) -> None:
    assert (await served.get("/healthz")).json == {"status": "ok"}
    assert (await served.get("/", "HEAD")).status == 200
    assert "POST /v1/chat/completions" in (await served.get("/")).json["endpoints"]


async def test_a_request_id_is_made_or_taken_over(served: Served) -> None:
    made = (await served.ask()).headers["X-Request-Id"]
    assert re.fullmatch(r"[0-9a-f]{16}", made)
    assert (await served.ask("openai", X_Request_Id="mine-1.2_3")).headers["X-Request-Id"] == "mine-1.2_3"
    for bad in ("a b", "x" * 129, "ä"):
        assert (await served.ask("openai", X_Request_Id=bad)).headers["X-Request-Id"] != bad


# -- gemini cli ----------------------------------------------------------------------------------------------------


async def test_the_local_endpoint_of_gemini_cli_is_off_until_it_is_allowed(serve: Serve) -> None:
    body = {"model": "demo", "request": ROUTES["gemini"][1]}
    off: Served = await serve()
    assert (await off.post("/v1internal:generateContent", body)).status == 403
    allowed: Served = await serve("enable-gemini-cli-endpoint: true\napi-keys: [k]\n")
    answer = await allowed.post("/v1internal:generateContent", body)
    assert answer.status == 200
    assert answer.json["response"]["candidates"]
    assert (await allowed.post("/v1internal:onboardUser", body)).status == 501
    assert (await allowed.post("/v1internal:generateContent", body, Host="localhost")).status == 403


# -- slow answers --------------------------------------------------------------------------------------------------


async def test_a_silent_stream_is_kept_alive(serve: Serve) -> None:
    served: Served = await serve(
        "streaming: {keepalive-seconds: 1}\nplugins: {configs: {demo: {delay-ms: 1200, chunk-size: 60}}}\n"
    )
    path, body = ROUTES["openai"]
    answer = await served.post(path, {**body, "stream": True})
    assert answer.status == 200
    events = [line for line in answer.body.decode().split("\n\n") if line]
    assert events[-1] == "data: [DONE]"
    assert any(event.startswith(":") for event in events)
    assert all(event.startswith(("data: ", ":")) for event in events)


async def test_nothing_keeps_alive_what_is_over(serve: Serve) -> None:
    served: Served = await serve("streaming: {keepalive-seconds: 1}\n")
    path, body = ROUTES["openai"]
    asked = orjson.dumps({**body, "stream": True})
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(asked)}"
    host, _, port = served.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{head}\r\n\r\n".encode() + asked)
    await reader.readuntil(b"\r\n0\r\n\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 1.3)
    writer.close()


async def test_a_whole_answer_that_takes_long_is_kept_alive_by_blank_lines(serve: Serve) -> None:
    served: Served = await serve("nonstream-keepalive-interval: 1\n")
    answer = await served.ask()
    assert answer.json["choices"]


async def test_an_open_stream_ends_before_the_daemon_does(serve: Serve) -> None:
    served: Served = await serve("shutdown-timeout: 20\nplugins: {configs: {demo: {delay-ms: 30, chunk-size: 1}}}\n")
    path, body = ROUTES["openai"]
    url, asked = served.url + path, orjson.dumps({**body, "stream": True})
    async with served.session.post(url, data=asked) as answer:
        first = await answer.content.readany()
        stopping = asyncio.create_task(served.daemon.stop())
        begun = time.monotonic()
        rest = await answer.read()
    await stopping
    assert time.monotonic() - begun < 20
    assert (first + rest).endswith(b"data: [DONE]\n\n")


async def test_answers_to_every_format_are_streams_when_asked(served: Served) -> None:
    expected: dict[str, Any] = {
        "openai": b"data: [DONE]\n\n",
        "openai-response": b"response.completed",
        "claude": b"message_stop",
    }
    for name, mark in expected.items():
        path, body = ROUTES[name]
        answer = await served.post(path, {**body, "stream": True})
        assert answer.headers["Content-Type"].startswith("text/event-stream"), name
        assert mark in answer.body
    stream = await served.post("/v1beta/models/demo:streamGenerateContent?alt=sse", ROUTES["gemini"][1])
    assert b'"finishReason":"STOP"' in stream.body
    array = await served.post("/v1beta/models/demo:streamGenerateContent?alt=json", ROUTES["gemini"][1])
    assert isinstance(array.json, list)
