"""Plain requests without aiohttp: what counts as plain, in which pieces it may come, and what follows it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.exchange.call import Answer
from cpa.server.direct import Direct, DirectBody, DirectConnection, Owner
from cpa.server.head import HeadReader, read_head

BODY = orjson.dumps({"model": "demo", "messages": [{"role": "user", "content": "hello"}]})
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
REQUEST = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def serving(folder: Path, settings: str = "") -> AsyncIterator[tuple[Daemon, tuple[str, int]]]:
    """A daemon with some settings, and its address."""
    path = folder / "config.yaml"
    path.write_text(f"host: 127.0.0.1\nport: 0\nauth-dir: {folder}/auth\n{settings}")
    async with Daemon(ConfigStore(path, {}), {}) as daemon:
        host, port = daemon.addresses[0].split(":")
        yield daemon, (host, int(port))


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[tuple[str, int]]:
    async with serving(tmp_path, "max-body-size: 4096\n") as (_, where):
        yield where


class Line:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, address: tuple[str, int]) -> Line:
        return cls(*await asyncio.open_connection(*address))

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """Status, headers by lower-case name, and the body."""
        async with asyncio.timeout(30):
            head = await self.reader.readuntil(b"\r\n\r\n")
            first, *lines = head[:-4].split(b"\r\n")
            pairs = [line.partition(b": ") for line in lines]
            headers = {name.lower(): value for name, _, value in pairs}
            if b"content-length" in headers:
                return int(first.split()[1]), headers, await self.reader.readexactly(int(headers[b"content-length"]))
            content = b""
            while size := int(await self.reader.readline(), 16):
                content += await self.reader.readexactly(size)
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
            return int(first.split()[1]), headers, content

    async def ended(self) -> bool:
        async with asyncio.timeout(30):
            return await self.reader.read() == b""


def test_a_plain_head_is_read() -> None:
    head = read_head(HEAD + b"content-length:  7 \r\nX-Two: a\r\nx-two: \xc3\xa9\r\nEmpty:\r\n\r\n")
    assert head is not None
    assert (head.method, head.path, head.target, head.length, head.keep_alive) == (
        "POST", "/v1/chat/completions", "/v1/chat/completions", 7, True,
    )  # fmt: skip
    assert head.headers.getall("X-TWO") == ["a", "é"]
    assert head.headers["empty"] == ""
    asked = read_head(b"GET /v1/models?key=a&b HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n")
    assert asked is not None
    assert (asked.path, asked.target, asked.keep_alive) == ("/v1/models", "/v1/models?key=a&b", False)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + b"\r\n",
        HEAD + b"Content-Length: 7\r\nContent-Length: 7\r\n\r\n",
        HEAD + b"Content-Length: +7\r\n\r\n",
        HEAD + b"Content-Length: 7, 7\r\n\r\n",
        HEAD + "Content-Length: \u0667\r\n\r\n".encode(),
        HEAD + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Content-Length: 7\r\nExpect: 100-continue\r\n\r\n",
        HEAD + b"Content-Length: 7\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        HEAD + b"Content-Length: 7\r\nConnection: keep-alive, te\r\n\r\n",
        HEAD + b"Content-Length : 7\r\n\r\n",
        HEAD + b" Content-Length: 7\r\n\r\n",
        HEAD + b"Content-Length: 7\r\n folded\r\n\r\n",
        HEAD + b"Content-Length: 7\nX: y\r\n\r\n",
        HEAD + b"Content-Length: 7\r\nX: a\rb\r\n\r\n",
        HEAD + b"Content-Length: 7\r\nX: a\x00b\r\n\r\n",
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: 7\r\n\r\n",
        HEAD.replace(b"completions", b"complet%69ons") + b"Content-Length: 7\r\n\r\n",
        HEAD.replace(b"completions", b"completions#a") + b"Content-Length: 7\r\n\r\n",
        HEAD.replace(b"POST /", b"POST http://localhost/") + b"Content-Length: 7\r\n\r\n",
        HEAD.replace(b"POST ", b"PUT ") + b"Content-Length: 7\r\n\r\n",
        HEAD + b"Content-Length: 7\r\n" + b"X: y\r\n" * 600 + b"\r\n",
        HEAD + b"Content-Length: 7\r\nHost: localhost\r\n\r\n",
        HEAD + b"Content-Length: 7\r\ncontent-type: application/json\r\n\r\n",
        HEAD + b"Content-Length: 7\r\nConnection: keep-alive\r\nConnection: close\r\n\r\n",
        HEAD.replace(b"Host", b"Hosts") + b"Content-Length: 7\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_left_alone(text: bytes) -> None:
    assert read_head(text) is None


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length", b"CONTENT-LENGTH"])
def test_a_head_like_the_one_before_is_read_as_if_it_was_the_first(name: bytes) -> None:
    reader = HeadReader()
    texts = [
        HEAD + name + b": 7\r\nX: y\r\n\r\n",
        HEAD + name + b": 123456\r\nX: y\r\n\r\n",
        HEAD + name + b": 7\r\nX: z\r\n\r\n",
        HEAD + name + b": 7\r\nContent-Length: 7\r\nX: z\r\n\r\n",
        HEAD + name + b": \r\nX: z\r\n\r\n",
        HEAD + name + b": +8\r\nX: z\r\n\r\n",
        HEAD + name + b": 8 \r\nX: z\r\n\r\n",
        HEAD + name + b": 9\r\nX: z\r\n\r\n",
        HEAD + name + b": 12345678901234567890\r\nX: z\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nHost: xy\r\n\r\n",
    ]
    for text in texts + texts[::-1]:
        for _ in range(2):
            head, expected = reader.read(text), read_head(text)
            assert (head is None) is (expected is None)
            if head is not None and expected is not None:
                assert list(head.headers.items()) == list(expected.headers.items())
                assert (head.method, head.target, head.length) == (expected.method, expected.target, expected.length)


def test_a_body_takes_its_share_in_any_pieces() -> None:
    for cut in range(len(BODY) + 1):
        body = DirectBody(len(BODY))
        assert body.feed(BODY[:cut]) == b""
        assert body.complete is (cut == len(BODY))
        assert body.feed(BODY[cut:] + b"next") == b"next"
        assert body.at_once() == BODY


@pytest.mark.parametrize("cut", [0, 1, 10, len(HEAD), len(REQUEST) - len(BODY), len(REQUEST) - 3, len(REQUEST)])
async def test_a_request_may_come_in_two_pieces_and_another_follow(address: tuple[str, int], cut: int) -> None:
    line = await Line.open(address)
    for _ in range(2):
        line.writer.write(REQUEST[:cut])
        await asyncio.sleep(0.02)
        line.writer.write(REQUEST[cut:])
        status, headers, content = await line.answer()
        assert status == 200
        assert headers[b"x-request-id"]
        assert orjson.loads(content)["choices"]
    line.writer.write(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await line.answer())[0] == 404
    line.writer.write(REQUEST)
    assert (await line.answer())[0] == 200
    line.writer.close()


async def test_requests_sent_ahead_are_answered_in_their_order(address: tuple[str, int]) -> None:
    line = await Line.open(address)
    missing = b"GET /v1/models/nobody HTTP/1.1\r\nHost: localhost\r\n\r\n"
    line.writer.write(REQUEST + HEALTH + missing + REQUEST + b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answers = [await line.answer() for _ in range(5)]
    assert [status for status, _, _ in answers] == [200, 200, 404, 200, 404]
    assert answers[1][2] == b'{"status":"ok"}'
    line.writer.close()


async def test_very_many_requests_sent_ahead_are_all_answered(address: tuple[str, int]) -> None:
    line = await Line.open(address)
    line.writer.write(HEALTH * 5000)
    for _ in range(5000):
        assert (await line.answer())[0] == 200
    line.writer.close()


async def test_a_stream_comes_in_chunks_and_the_connection_lives_on(address: tuple[str, int]) -> None:
    line = await Line.open(address)
    body = orjson.dumps({"model": "demo", "stream": True, "messages": [{"role": "user", "content": "hello"}]})
    for _ in range(2):
        line.writer.write(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        status, headers, content = await line.answer()
        assert (status, headers[b"transfer-encoding"]) == (200, b"chunked")
        assert headers[b"content-type"] == b"text/event-stream"
        assert content.endswith(b"data: [DONE]\n\n")
    line.writer.close()


async def test_the_connection_ends_when_the_client_says_so(address: tuple[str, int]) -> None:
    line = await Line.open(address)
    line.writer.write(REQUEST.replace(b"Host", b"Connection: close\r\nHost", 1) + HEALTH)
    status, headers, _ = await line.answer()
    assert (status, headers[b"connection"]) == (200, b"close")
    assert await line.ended()


async def test_head_has_no_body_and_the_same_head(address: tuple[str, int]) -> None:
    line = await Line.open(address)
    line.writer.write(HEALTH.replace(b"GET", b"HEAD") + HEALTH)
    head = await line.reader.readuntil(b"\r\n\r\n")
    assert b"Content-Length: 15" in head
    assert (await line.answer())[2] == b'{"status":"ok"}'
    line.writer.close()


async def test_a_body_that_is_too_large_is_refused_in_the_clients_format(address: tuple[str, int]) -> None:
    line = await Line.open(address)
    line.writer.write(HEAD + b"Content-Length: 5000\r\n\r\n" + b" " * 5000)
    status, _, content = await line.answer()
    assert status == 413
    assert orjson.loads(content)["error"]["code"] == "request_too_large"
    line.writer.close()


async def test_an_error_that_needs_no_body_does_not_spoil_the_next_request(tmp_path: Path) -> None:
    async with serving(tmp_path, "api-keys: [sk-good]\n") as (_, where):
        line = await Line.open(where)
        line.writer.write(REQUEST[:-10])
        assert (await line.answer())[0] == 401
        line.writer.write(REQUEST[-10:] + REQUEST.replace(b"Host", b"Authorization: Bearer sk-good\r\nHost", 1))
        assert (await line.answer())[0] == 200
        line.writer.close()


async def test_the_rest_of_a_body_is_not_awaited_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.server.connections.HEAD_SECONDS", 0.3)
    async with serving(tmp_path, "api-keys: [sk-good]\n") as (_, where):
        line = await Line.open(where)
        line.writer.write(REQUEST[:-10])
        assert (await line.answer())[0] == 401
        assert await line.ended()


async def test_another_host_name_is_refused(address: tuple[str, int]) -> None:
    line = await Line.open(address)
    line.writer.write(HEALTH.replace(b"localhost", b"evil.example") + HEALTH)
    assert (await line.answer())[0] == 421
    assert (await line.answer())[0] == 200
    line.writer.close()


async def test_an_answer_under_way_is_finished_before_the_daemon_ends(tmp_path: Path) -> None:
    async with serving(tmp_path) as (daemon, where):
        busy, idle = await Line.open(where), await Line.open(where)
        idle.writer.write(HEALTH)
        await idle.answer()
        busy.writer.write(REQUEST[:-1])
        await asyncio.sleep(0.05)
        listener = daemon._listener
        assert listener is not None
        stopping = asyncio.create_task(listener.stop())
        assert await idle.ended()
        busy.writer.write(REQUEST[-1:])
        assert (await busy.answer())[0] == 200
        assert await busy.ended()
        await stopping


async def test_at_the_end_nobody_is_waited_for_who_has_nothing_to_get(tmp_path: Path) -> None:
    async with serving(tmp_path, "api-keys: [sk-good]\n") as (daemon, where):
        silent, refused = await Line.open(where), await Line.open(where)
        refused.writer.write(REQUEST[:-10])
        assert (await refused.answer())[0] == 401
        listener = daemon._listener
        assert listener is not None
        async with asyncio.timeout(5):
            await listener.stop()
            assert await silent.ended()
            assert await refused.ended()


Health = Callable[[Any], Awaitable[Answer]]


@pytest.fixture
async def health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Health], Awaitable[Line]]]:
    """Lets ``GET /healthz`` (directly) and ``GET /healthz/`` (by aiohttp) answer something else."""
    async with AsyncExitStack() as stack:

        async def begin(surface: Health) -> Line:
            monkeypatch.setattr("cpa.server.surfaces.fixed.health", surface)
            _, where = await stack.enter_async_context(serving(tmp_path))
            return await Line.open(where)

        yield begin


async def test_a_surface_that_breaks_is_an_error_to_the_client(
    health: Callable[[Health], Awaitable[Line]],
) -> None:
    async def broken(request: Any) -> Answer:
        raise KeyError("secret")

    line = await health(broken)
    for _ in range(2):
        line.writer.write(HEALTH)
        status, _, content = await line.answer()
        assert (status, content) == (500, b"internal error")
    line.writer.close()


@pytest.mark.parametrize("path", [b"/healthz", b"/healthz/"])
async def test_a_stream_whose_source_is_gone_does_not_end_as_if_all_were_well(
    health: Callable[[Health], Awaitable[Line]], path: bytes
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise ConnectionResetError

    async def cut(request: Any) -> Answer:
        return Answer(stream=pieces())

    line = await health(cut)
    line.writer.write(HEALTH.replace(b"/healthz", path))
    received = b""
    async with asyncio.timeout(10):
        with suppress(ConnectionResetError):
            while piece := await line.reader.read(1000):
                received += piece
    assert b"\r\n0\r\n" not in received
    line.writer.close()


async def test_answers_wait_for_a_client_that_does_not_read(health: Callable[[Health], Awaitable[Line]]) -> None:
    answered = 0

    async def large(request: Any) -> Answer:
        nonlocal answered
        answered += 1
        return Answer(body=b"x" * 60_000)

    line = await health(large)
    cast(Any, line.writer.transport).pause_reading()
    line.writer.write(HEALTH * 2000)
    before = -1
    while answered != before:
        before = answered
        await asyncio.sleep(0.2)
    assert answered < 500, "what the kernel takes, not what was asked for"
    cast(Any, line.writer.transport).resume_reading()
    for _ in range(2000):
        assert len((await line.answer())[2]) == 60_000
    line.writer.close()


async def test_who_gives_up_waiting_for_a_client_takes_nobody_along() -> None:
    class Transport:
        def get_extra_info(self, name: str) -> None: ...

        def is_closing(self) -> bool:
            return False

    connection = DirectConnection(cast(Direct, None), cast(asyncio.Transport, Transport()), cast(Owner, None))
    connection.pause()
    first, second = (asyncio.create_task(connection.drain()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    connection.resume()
    async with asyncio.timeout(5):
        await second


async def test_a_form_is_one_in_any_spelling(address: tuple[str, int]) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\ndemo\r\n--b--\r\n'
    line = await Line.open(address)
    head = HEAD.replace(b"chat/completions", b"images/edits")
    head = head.replace(b"application/json", b"Multipart/Form-Data; boundary=b")
    line.writer.write(head + b"Content-Length: %d\r\n\r\n%b" % (len(form), form))
    assert b"demo" in (await line.answer())[2]
    line.writer.close()
