"""Answers that end where they should not, and what must not happen to a request then; on both event loops."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import threading
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import brotli  # type: ignore[import-untyped]
import pytest
import uvloop

from cpa.errors import UpstreamError
from cpa.upstream import tls
from cpa.upstream.address import split_url
from cpa.upstream.client import UpstreamClient, read_whole
from cpa.upstream.connection import HEADERS_LIMIT, NEVER, Connection, Limits
from cpa.upstream.decoding import PIECE, check_ends, decoders, unpack, zstd
from cpa.upstream.faults import WireFault
from cpa.upstream.resolver import Resolver
from cpa.upstream.timeouts import Timeouts
from tests.upstream.test_connection import HEAD, WHOLE, Upstream, ask
from tests.upstream.test_tls import certificate

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Callable[[UpstreamClient], Awaitable[None]]], None]:
    """Runs a test with a client, on the event loop of that name."""

    def run(test: Callable[[UpstreamClient], Awaitable[None]]) -> None:
        async def within() -> None:
            client = UpstreamClient(lambda: "", {})
            try:
                await asyncio.wait_for(test(client), 20)
            finally:
                await client.close()

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(within())

    return run


Run = Callable[[Callable[[UpstreamClient], Awaitable[None]]], None]


async def fault(client: UpstreamClient, url: str) -> str | None:
    """The code of the error a request ends with."""
    with pytest.raises(UpstreamError) as caught:
        await ask(client, url)
    return caught.value.error.code


@pytest.mark.parametrize(
    "beginning", [b"HTTP/1.1 200 OK\r\nContent-", b"H", b"HTTP/1.1 103 Early Hints\r\n\r\n", HEAD + b"X: 1\r\n"]
)
def test_a_request_whose_answer_had_begun_is_never_sent_again(run: Run, beginning: bytes) -> None:
    async def test(client: UpstreamClient) -> None:
        upstream = Upstream([WHOLE["length"]], [beginning], [WHOLE["length"]])
        url = await upstream.start()
        assert await ask(client, url) == b"hello world"
        asking = asyncio.create_task(fault(client, url))
        while len(upstream.requests) < 2:
            await asyncio.sleep(0.01)
        upstream.scripts.clear()
        upstream.hang_up()
        assert await asking == "connection_lost"
        assert len(upstream.requests) == 2

    run(test)


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH\r\n"])
def test_a_server_that_does_not_wait_for_the_request(run: Run, greeting: bytes) -> None:
    async def test(client: UpstreamClient) -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(greeting)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        loop = asyncio.get_running_loop()
        address = server.sockets[0].getsockname()
        _, connection = await loop.create_connection(lambda: Connection("host", lambda _: None), *address)
        await asyncio.sleep(0.1)
        with pytest.raises(WireFault) as caught:
            await connection.send([b"GET / HTTP/1.1\r\n\r\n"], Limits(NEVER, NEVER, NEVER), headless=False)
        assert caught.value.code == ("bad_response" if greeting else "disconnected")

    run(test)


def test_a_connection_that_was_closed_while_it_idled_leaves_no_timer(run: Run) -> None:
    async def test(client: UpstreamClient) -> None:
        upstream = Upstream([WHOLE["length"]], close=True)
        url = await upstream.start()
        response = await client.send("GET", url, headers={}, body=None, timeouts=Timeouts())
        connection = response._connection  # type: ignore[attr-defined]
        await read_whole(response)
        response.close()
        while connection.open:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert connection._timer is None

    run(test)


def test_an_answer_that_came_before_its_request_was_taken_ends_the_connection(run: Run) -> None:
    async def test(client: UpstreamClient) -> None:
        connections = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await reader.read(1)
            writer.write(WHOLE["length"])
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(5)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(2):
            response = await client.send("POST", url, headers={}, body=b"x" * 30_000_000, timeouts=Timeouts())
            assert await read_whole(response) == b"hello world"
            response.close()
        assert connections == 2

    run(test)


@pytest.mark.parametrize(
    "endless", [b"1\r\nx\r\n0\r\nX: ", b"1\r\nx\r\n0\r\nX: 1\r\nY: ", b"1;a="], ids=["trailer", "second", "extension"]
)
def test_what_follows_a_body_has_an_end(run: Run, endless: bytes) -> None:
    async def test(client: UpstreamClient) -> None:
        flood = [b"a" * 16384] * (2 * HEADERS_LIMIT // 16384)
        upstream = Upstream([HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + endless, *flood])
        assert await fault(client, await upstream.start()) == "bad_response"

    run(test)


def test_heads_before_the_answer_have_an_end(run: Run) -> None:
    async def test(client: UpstreamClient) -> None:
        upstream = Upstream([b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, WHOLE["length"]])
        assert await fault(client, await upstream.start()) == "bad_response"

    run(test)


def test_the_last_of_several_transfer_codings_tells_where_the_body_ends(run: Run) -> None:
    async def test(client: UpstreamClient) -> None:
        head = HEAD + b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        upstream = Upstream([head + b"5\r\nhello\r\n"], close=True)
        assert await fault(client, await upstream.start()) == "connection_lost"

    run(test)


@pytest.mark.parametrize("notified", [True, False])
def test_a_body_that_ends_with_its_tls_connection_must_say_so(
    run: Run, notified: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem, key = certificate(tmp_path, "localhost")
    monkeypatch.setattr(tls, "CONTEXT", ssl.create_default_context(cafile=pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with context.wrap_socket(listening.accept()[0], server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(HEAD + b"\r\nhello world")
            if notified:
                connection.unwrap().close()

    async def test(client: UpstreamClient) -> None:
        url = f"https://localhost:{listening.getsockname()[1]}/"
        if notified:
            assert await ask(client, url) == b"hello world"
        else:
            assert await fault(client, url) == "connection_lost"

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    run(test)
    listening.close()


@pytest.mark.parametrize("coding", CODERS)
def test_a_packed_body_that_is_cut_off_is_an_error_although_its_framing_is_whole(run: Run, coding: str) -> None:
    async def test(client: UpstreamClient) -> None:
        packed = CODERS[coding](b"hello world" * 100)
        head = HEAD + b"Content-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
        cut = packed[: len(packed) - 3]
        upstream = Upstream(
            [head % (coding.encode(), len(packed)) + packed],
            [head % (coding.encode(), 0)],
            [head % (coding.encode(), len(cut)) + cut],
        )
        url = await upstream.start()
        assert await ask(client, url) == b"hello world" * 100
        assert await ask(client, url) == b""
        assert await fault(client, url) == "bad_encoding"

    run(test)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate", "br", "zstd"])
@pytest.mark.parametrize("size", [PIECE - 1, PIECE, PIECE + 1, PIECE + 257, 3 * PIECE])
def test_nothing_stays_behind_in_a_decoder(coding: str, size: int) -> None:
    content = b"a" * size
    raw = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = raw.compress(content) + raw.flush() if coding == "raw deflate" else CODERS[coding](content)
    chain = decoders(coding.rpartition(" ")[2])
    assert b"".join(unpack(chain, packed)) == content
    check_ends(chain)


def test_a_body_is_not_unpacked_without_end(run: Run) -> None:
    async def test(client: UpstreamClient) -> None:
        names = b",".join([b"br"] * 5000)
        upstream = Upstream([HEAD + b"Content-Encoding: %b\r\nContent-Length: 2\r\n\r\nxx" % names])
        assert await fault(client, await upstream.start()) == "bad_encoding"

    run(test)


async def test_a_closed_answer_gives_nothing_of_the_next_one() -> None:
    client = UpstreamClient(lambda: "", {})
    upstream = Upstream([WHOLE["length"]], [HEAD + b"Content-Length: 6\r\n\r\nsecret"])
    url = await upstream.start()
    first = await client.send("GET", url, headers={}, body=None, timeouts=Timeouts())
    assert await first.read() == b"hello world"
    first.close()
    second = await client.send("GET", url, headers={}, body=None, timeouts=Timeouts())
    assert await first.read() == b""
    assert await read_whole(second) == b"secret"
    await client.close()


async def test_a_name_can_be_looked_up_once_there_are_threads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver = Resolver()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(socket.gaierror):
            await resolver.addresses("localhost", 80)
    assert await asyncio.wait_for(resolver.addresses("localhost", 80), 5)


def test_a_host_name_of_any_script_is_asked_for_as_name_servers_know_it() -> None:
    origin, target = split_url("http://B\u00fccher.example:81/a?b")
    assert (origin.host, origin.authority, target) == ("xn--bcher-kva.example", "xn--bcher-kva.example:81", "/a?b")
    with pytest.raises(ValueError, match="label"):
        split_url("http://" + "\u00fc" * 80 + ".example/")
