"""Connections of our own: every shape of answer, however the bytes are cut; every fault named; nothing left behind."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator

import brotli  # type: ignore[import-untyped]
import pytest

from cpa.errors import UpstreamError
from cpa.upstream.address import Origin, split_url
from cpa.upstream.client import LONG_BODY, UpstreamClient, UpstreamResponse, read_whole, request_pieces
from cpa.upstream.decoding import PIECE, decoders, unpack
from cpa.upstream.timeouts import Timeouts

HEAD = b"HTTP/1.1 200 OK\r\n"


class Upstream:
    """Answers every request with the next script: pieces of bytes, with a pause between them; then it may close."""

    def __init__(self, *scripts: list[bytes], close: bool = False) -> None:
        self.scripts = list(scripts)
        self.close = close
        self.connections = 0
        self.requests: list[bytes] = []
        self.url = ""
        self._writers: list[asyncio.StreamWriter] = []

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()

    async def start(self) -> str:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self.url

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        try:
            while self.scripts:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                for piece in self.scripts.pop(0):
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                if self.close:
                    return
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(lambda: "", {})
    yield client
    await client.close()


async def ask(client: UpstreamClient, url: str, method: str = "POST", timeouts: Timeouts | None = None) -> bytes:
    response = await client.send(method, url, headers={"X": "é"}, body=b"{}", timeouts=timeouts or Timeouts())
    try:
        return await read_whole(response)
    finally:
        response.close()


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


WHOLE = {
    "length": HEAD + b"Content-Length: 11\r\n\r\nhello world",
    "chunked": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello ", b"world"),
    "trailers": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello world")[:-2] + b"X-T: 1\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\nX: 1\r\n\r\n" + HEAD + b"Content-Length: 11\r\n\r\nhello world",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 11\n\nhello world",
    "gzip": HEAD
    + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunked(gzip.compress(b"hello world")),
}


@pytest.mark.parametrize("name", WHOLE)
async def test_any_cut_gives_the_same_answer_and_keeps_the_connection(client: UpstreamClient, name: str) -> None:
    answer = WHOLE[name]
    cuts = range(1, len(answer), 3)
    upstream = Upstream(*([answer[:at], answer[at:]] for at in cuts), [bytes([byte]) for byte in answer])
    url = await upstream.start()
    for _ in range(len(cuts) + 1):
        assert await ask(client, url) == b"hello world"
    assert upstream.connections == 1


async def test_an_answer_without_length_ends_with_its_connection(client: UpstreamClient) -> None:
    upstream = Upstream([HEAD + b"\r\nhello ", b"world"], [HEAD + b"\r\n"], close=True)
    url = await upstream.start()
    assert await ask(client, url) == b"hello world"
    assert await ask(client, url) == b""
    assert upstream.connections == 2


async def test_answers_without_body(client: UpstreamClient) -> None:
    upstream = Upstream(
        [b"HTTP/1.1 204 No\r\n\r\n"], [b"HTTP/1.1 304 No\r\n\r\n"], [HEAD + b"Content-Length: 9\r\n\r\n"]
    )
    url = await upstream.start()
    assert await ask(client, url) == b""
    assert await ask(client, url) == b""
    assert await ask(client, url, "HEAD") == b""


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200", "connection_lost"),
        (HEAD + b"Content-Length: 11\r\n\r\nhello", "connection_lost"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "connection_lost"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n", "bad_response"),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad_response"),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "bad_response"),
        (b"SSH-2.0-OpenSSH\r\n", "bad_response"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx", "bad_response"),
        (HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "bad_response"),
        (HEAD + b"".join(b"X%d: %b\r\n" % (n, b"a" * 1000) for n in range(400)), "bad_response"),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello", "bad_encoding"),
    ],
)
async def test_a_broken_answer_is_named_and_costs_nothing_later(
    client: UpstreamClient, answer: bytes, code: str
) -> None:
    upstream = Upstream([answer], [WHOLE["length"]], close=True)
    url = await upstream.start()
    with pytest.raises(UpstreamError) as caught:
        await ask(client, url)
    assert caught.value.error.code == code
    assert caught.value.scope == "none"
    assert await ask(client, url) == b"hello world"


async def test_bytes_after_an_answer_are_never_taken_for_the_next_one(client: UpstreamClient) -> None:
    forged = HEAD + b"Content-Length: 4\r\n\r\nevil"
    upstream = Upstream([WHOLE["length"], forged], [WHOLE["length"]])
    url = await upstream.start()
    assert await ask(client, url) == b"hello world"
    await asyncio.sleep(0.05)
    upstream.scripts.append([WHOLE["length"]])
    assert await ask(client, url) == b"hello world"
    assert upstream.connections == 2


async def test_a_kept_connection_that_was_closed_is_replaced(client: UpstreamClient) -> None:
    upstream = Upstream([WHOLE["length"]], [WHOLE["length"]], close=True)
    url = await upstream.start()
    assert await ask(client, url) == b"hello world"
    assert await ask(client, url) == b"hello world"
    assert (upstream.connections, len(upstream.requests)) == (2, 2)


async def test_an_answer_left_unread_closes_its_connection(client: UpstreamClient) -> None:
    upstream = Upstream([HEAD + b"Content-Length: 99\r\n\r\nhello"], [WHOLE["length"]], [WHOLE["length"]])
    url = await upstream.start()
    response = await client.send("POST", url, headers={}, body=b"{}", timeouts=Timeouts())
    response.close()
    response.close()
    assert await ask(client, url) == b"hello world"
    assert upstream.connections == 2


async def test_a_cancelled_request_closes_its_connection(client: UpstreamClient) -> None:
    upstream = Upstream([], [WHOLE["length"]])
    url = await upstream.start()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await ask(client, url)
    assert await ask(client, url) == b"hello world"
    assert upstream.connections == 2


async def test_a_slow_reader_is_no_silent_upstream(client: UpstreamClient) -> None:
    upstream = Upstream([HEAD + b"Content-Length: 11\r\n\r\nhello ", b"world"])
    response = await client.send("GET", await upstream.start(), headers={}, body=None, timeouts=Timeouts(idle=0.05))
    first = await response.read()
    await asyncio.sleep(0.2)
    assert first + await read_whole(response) == b"hello world"
    response.close()


async def test_an_upstream_that_is_faster_than_its_reader_is_held_back(client: UpstreamClient) -> None:
    size = 64 * 1024 * 1024
    upstream = Upstream([HEAD + b"Content-Length: %d\r\n\r\n" % size, *(b"x" * 65536 for _ in range(size // 65536))])
    response = await client.send("GET", await upstream.start(), headers={}, body=None, timeouts=Timeouts())
    await asyncio.sleep(0.1)
    seen = 0
    while chunk := await response.read():
        assert len(chunk) <= 1024 * 1024
        seen += len(chunk)
    response.close()
    assert seen == size


def _written(method: str, origin: Origin, target: str, headers: dict[str, str], body: bytes | None) -> bytes:
    return b"".join(request_pieces(method, origin, target, headers, body))


def test_what_a_request_looks_like() -> None:
    origin, target = split_url("https://api.test/v1/x?y=1")
    assert _written("POST", origin, target, {"X-A": "é", "connection": "upgrade"}, b"{}") == (
        b"POST /v1/x?y=1 HTTP/1.1\r\nX-A: \xc3\xa9\r\nHost: api.test\r\nAccept: */*\r\n"
        b"Accept-Encoding: gzip, deflate, br, zstd\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert b"Content-Length" not in _written("GET", origin, target, {}, None)
    assert b"host: other\r\n" in _written("GET", origin, target, {"host": "other"}, None)
    assert split_url("http://[::1]:8080")[0].authority == "[::1]:8080"
    assert split_url("http://a:80/")[0] == Origin("http", "a", 80)


def test_a_long_body_is_not_copied() -> None:
    origin, target = split_url("https://api.test/")
    body = b"x" * LONG_BODY
    head, sent = request_pieces("POST", origin, target, {}, body)
    assert head.endswith(b"Content-Length: %d\r\n\r\n" % len(body))
    assert sent is body


@pytest.mark.parametrize("value", ["a\r\nX: 1", "a\nX: 1", "a\rX", "a\0"])
def test_no_header_breaks_out_of_its_line(value: str) -> None:
    origin, target = split_url("https://api.test/")
    for headers in ({"X-A": value}, {value: "x"}):
        with pytest.raises(ValueError, match="line break"):
            _written("GET", origin, target, headers, None)


@pytest.mark.parametrize(
    "url", ["ftp://a/", "https://", "https://a/b c", "https://a/é", "https://a b/", "x", "https://a:99999/"]
)
async def test_no_url_breaks_out_of_the_request_line(client: UpstreamClient, url: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        await client.send("GET", url, headers={}, body=None, timeouts=Timeouts())
    assert caught.value.error.code == "invalid_url"


TEXT = b"hello world " * 200_000


@pytest.mark.parametrize(
    ("names", "packed"),
    [
        ("gzip", gzip.compress(TEXT, mtime=0)),
        ("x-gzip", gzip.compress(TEXT[:10], mtime=0) + gzip.compress(TEXT[10:], mtime=0)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)[2:-4]),
        ("br", brotli.compress(TEXT)),
        ("gzip, br", brotli.compress(gzip.compress(TEXT, mtime=0))),
        ("identity", TEXT),
    ],
)
def test_packed_bodies_come_out_whole_and_never_swell_at_once(names: str, packed: bytes) -> None:
    for size in (7, 1000, len(packed)):
        chain, out = decoders(names), []
        for at in range(0, min(len(packed), 200 * size if size == 7 else len(packed)), size):
            out += unpack(chain, packed[at : at + size])
        if size != 7:
            assert b"".join(out) == TEXT
        assert TEXT.startswith(b"".join(out))
        assert names == "identity" or max(map(len, out), default=0) <= 2 * PIECE


async def test_the_whole_of_a_body_has_a_limit() -> None:
    class Endless:
        status = 200
        headers: dict[str, str] = {}

        async def read(self) -> bytes:
            return b"x" * 1000

        def close(self) -> None:
            """Nothing to close."""

    response: UpstreamResponse = Endless()
    with pytest.raises(UpstreamError) as caught:
        await read_whole(response, 10_000)
    assert caught.value.error.code == "answer_too_large"
