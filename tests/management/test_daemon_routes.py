"""Routes about the daemon itself: releases, models, keep-alive, its own description."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from cpa import __version__
from cpa.management.keep_alive import KeepAlive
from tests.management.conftest import Managed, Start


@pytest.fixture
async def releases() -> AsyncIterator[tuple[TestServer, dict[str, Any]]]:
    """A releases page that answers what the dictionary says."""
    told: dict[str, Any] = {"status": 200, "body": b'{"tag_name":"v9"}', "asked": 0}

    async def newest(request: web.Request) -> web.Response:
        told["asked"] += 1
        return web.Response(status=told["status"], body=told["body"])

    app = web.Application()
    app.router.add_get("/latest", newest)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    yield server, told
    await server.close()


async def test_nobody_is_asked_for_a_newer_version_by_default(managed: Managed) -> None:
    assert (await managed.call("GET", "/latest-version")).json == {"latest-version": __version__}


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"tag_name":"v9","name":"nine"}', (200, {"latest-version": "v9"})),
        (200, b'{"tag_name":"","name":"nine"}', (200, {"latest-version": "nine"})),
        (403, b"limit", (502, {"error": "unexpected_status", "message": "status 403: limit"})),
        (200, b"<html>", (502, {"error": "decode_failed", "message": "the answer is not JSON"})),
        (200, b"{}", (502, {"error": "invalid_response", "message": "missing release version"})),
        (200, b"[]", (502, {"error": "invalid_response", "message": "missing release version"})),
    ],
)
async def test_the_releases_page_is_asked_once(
    start: Start, releases: tuple[TestServer, dict[str, Any]], status: int, body: bytes, expected: Any
) -> None:
    server, told = releases
    told |= {"status": status, "body": body}
    daemon: Managed = await start()
    section = f"remote-management:\n  releases-url: {server.make_url('/latest')}\n"
    daemon.edit(daemon.file.replace("remote-management:\n", section))
    for _ in range(3):
        answer = await daemon.call("GET", "/latest-version")
        assert (answer.status, answer.json) == expected
    assert told["asked"] == 1


@pytest.mark.parametrize(
    "channel", ["claude", "gemini", "vertex", "gemini-cli", "aistudio", "codex", "kimi", "antigravity", "CODEX"]
)
async def test_every_channel_has_models(managed: Managed, channel: str) -> None:
    told = (await managed.call("GET", f"/model-definitions/{channel}")).json
    assert told["channel"] == channel.lower()
    assert all({"id", "object", "created", "owned_by", "type"} <= set(model) for model in told["models"])
    assert len({model["id"] for model in told["models"]}) == len(told["models"]) > 2


async def test_an_unknown_channel_is_named(managed: Managed) -> None:
    answer = await managed.call("GET", "/model-definitions/x")
    assert (answer.status, answer.json) == (400, {"error": "unknown channel", "channel": "x"})


async def test_there_is_no_keep_alive_without_a_local_password(managed: Managed) -> None:
    async with managed.session.get(f"{managed.url}/keep-alive") as answer:
        assert answer.status == 404


async def test_silence_stops_and_a_call_puts_it_off() -> None:
    stopped = asyncio.Event()
    keep_alive = KeepAlive("pass", stopped.set, silence=0.3)
    app = web.Application()
    app.router.add_get("/keep-alive", keep_alive.handle)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    async with aiohttp.ClientSession() as session:
        for headers, status in (
            ({"Authorization": "Bearer pass"}, 200),
            ({"Authorization": "pass"}, 200),
            ({"X-Local-Password": "pass"}, 200),
            ({"Authorization": "wrong", "X-Local-Password": "pass"}, 401),
            ({}, 401),
        ):
            async with session.get(server.make_url("/keep-alive"), headers=headers) as answer:
                assert answer.status == status
        keep_alive.start()
        for _ in range(4):
            await asyncio.sleep(0.15)
            async with session.get(server.make_url("/keep-alive"), headers={"X-Local-Password": "pass"}):
                assert not stopped.is_set()
        await asyncio.wait_for(stopped.wait(), 5)
    await server.close()


async def test_every_described_route_is_served_and_guarded(managed: Managed) -> None:
    document = (await managed.call("GET", "/openapi.json")).json
    assert document["openapi"] == "3.1.0"
    names = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"] not in names
            names.add(operation["operationId"])
            managed.daemon.gate.lockout.succeeded("127.0.0.1")
            answer = await managed.call(method.upper(), re.sub(r"{\w+}", "x", path), key="wrong")
            assert answer.status == 401, (method, path, answer)
    assert len(names) > 60
