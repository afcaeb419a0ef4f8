"""Clients that dribble, stop, do not read or are too many: they lose their place, others never notice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
import pytest

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.server.clients import Doorkeeper
from cpa.server.connections import Connection, Connections
from cpa.server.direct import Direct
from cpa.server.services import Services
from cpa.server.surface import Routes

BODY = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


class Served:
    """A daemon and its address."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        host, port = daemon.addresses[0].split(":")
        self.address = (host, int(port))
        self.url = f"http://{daemon.addresses[0]}"

    async def ask(self, **more: Any) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/v1/chat/completions", json={**BODY, **more}) as answer,
        ):
            await answer.read()
            return answer.status

    async def connect(self, sent: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(sent)
        return reader, writer

    @property
    def places(self) -> Any:
        listener = self.daemon._listener
        assert listener is not None
        assert listener.connections is not None
        return listener.connections


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    path = tmp_path / "config.yaml"
    path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {tmp_path}/auth\n")
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        yield Served(daemon)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("sent", [b"", b"P", HEAD])
async def test_a_head_that_does_not_come_ends_the_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("cpa.server.connections.HEAD_SECONDS", 0.2)
    reader, writer = await served.connect(sent)
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    await until(lambda: not served.places.open)
    writer.close()


async def test_a_head_that_dribbles_ends_the_connection_on_a_used_one_too(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpa.server.connections.HEAD_SECONDS", 0.3)
    reader, writer = await served.connect(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    await asyncio.sleep(0.5)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200")
    for letter in HEAD[:50]:
        writer.write(bytes([letter]))
        await asyncio.sleep(0.02)
        if gone := reader.at_eof() or reader.exception() is not None:
            break
    assert gone, "each letter bought more time"
    writer.close()


async def test_an_answer_may_take_longer_than_a_head(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.server.connections.HEAD_SECONDS", 0.1)
    assert await served.ask(model="demo-slow", stream=True) == 200


async def test_a_body_that_stops_coming_is_refused(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.server.bodies.BODY_SECONDS", 0.2)
    reader, writer = await served.connect(HEAD + b'Content-Length: 500\r\n\r\n{"model": "de')
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408")
    writer.close()


async def test_a_body_that_comes_slowly_is_not(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.server.bodies.BODY_SECONDS", 0.3)
    body = orjson.dumps(BODY)
    reader, writer = await served.connect(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
    for start in range(0, len(body), 8):
        writer.write(body[start : start + 8])
        await asyncio.sleep(0.05)
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_client_that_does_not_read_loses_its_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cpa.server.connections.WRITE_SECONDS", 0.3)
    _, writer = await served.connect()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(100):
        writer.write(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n" * 200)
        await asyncio.sleep(0)
    assert len(served.places.open) == 1
    await until(lambda: not served.places.open)
    writer.close()


async def test_without_a_place_a_client_is_told_to_come_back(served: Served) -> None:
    served.places.most = 3
    busy = {**BODY, "model": "demo-slow", "stream": True, "messages": [{"role": "user", "content": "word " * 60}]}
    async with aiohttp.ClientSession() as session:
        running = [await session.post(f"{served.url}/v1/chat/completions", json=busy) for _ in range(3)]
        async with aiohttp.ClientSession() as other, other.get(f"{served.url}/healthz") as answer:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert await answer.text() == "too many connections are open"
        assert served.places.refused == 1
        for answer in running:
            answer.close()
        await until(lambda: len(served.places.open) < 3)
        assert await served.ask() == 200


async def test_a_connection_that_idles_gives_up_its_place(served: Served) -> None:
    served.places.most = 3
    idle = []
    for _ in range(3):
        reader, writer = await served.connect(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"}")
        idle.append((reader, writer))
    for _ in range(2):
        assert await served.ask() == 200
    assert served.places.refused == 0
    assert await idle[0][0].read() == b""
    for _, writer in idle:
        writer.close()


async def test_a_thousand_dribbling_connections_slow_nobody_down(served: Served) -> None:
    """Property 26 in small; ``python -m bench.slow_clients`` measures it in full."""

    async def typical() -> float:
        times = []
        for _ in range(30):
            begun = time.perf_counter()
            assert await served.ask() == 200
            times.append(time.perf_counter() - begun)
        return sorted(times)[-2]

    alone = await typical()
    dribbling = [await served.connect(HEAD) for _ in range(300)]

    async def dribble() -> None:
        while True:
            for _, writer in dribbling:
                writer.write(b"X")
            await asyncio.sleep(0.1)

    task = asyncio.create_task(dribble())
    beside = await typical()
    task.cancel()
    for _, writer in dribbling:
        writer.close()
    assert beside < alone * 4 + 0.05


class Transport(asyncio.Transport):
    """A connection whose client reads nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = self.aborted = False

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return 10


class Paused(asyncio.Protocol):
    """What a connection is passed on to."""

    paused = False

    def pause_writing(self) -> None:
        self.paused = True


def connection_of(inner: asyncio.Protocol) -> Connection:
    direct = Direct(cast(Services, None), cast(Doorkeeper, None), Routes())
    return Connections(direct, lambda: inner, lambda first: None, 9).make()


async def test_a_connection_that_is_to_end_does_not_wait_for_ever_for_its_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("cpa.server.connections.WRITE_SECONDS", 0.01)
    connection, transport = connection_of(Paused()), Transport()
    connection.connection_made(transport)
    connection.hang_up()
    assert transport.closed
    assert not transport.aborted
    async with asyncio.timeout(5):
        while not transport.aborted:
            await asyncio.sleep(0.01)
    connection.connection_lost(None)


async def test_whoever_a_full_connection_is_passed_on_to_knows_that_it_is_full() -> None:
    inner = Paused()
    connection = connection_of(inner)
    connection.connection_made(Transport())
    connection.pause_writing()
    connection.data_received(b"BREW /pot HTTP/1.1\r\n\r\n")
    assert inner.paused
    connection.connection_lost(None)
