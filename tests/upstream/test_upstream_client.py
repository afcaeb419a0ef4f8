"""The HTTP client against real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from cpa.errors import UpstreamError
from cpa.upstream.client import UpstreamClient, read_whole
from cpa.upstream.proxies import choose_proxy
from cpa.upstream.timeouts import Timeouts, timeouts_from

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """A TCP server that runs one function per connection."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def start(self, serve: Serve) -> str:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            try:
                await serve(reader, writer)
            finally:
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    client = UpstreamClient(lambda: "", {})
    yield client
    await client.close()


async def get(client: UpstreamClient, url: str, timeouts: Timeouts | None = None, proxy: str = "") -> bytes:
    response = await client.send(
        "POST", url, headers={}, body=b"{}", timeouts=timeouts or Timeouts(), account_proxy=proxy
    )
    try:
        return await read_whole(response)
    finally:
        response.close()


async def request_head(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(2)
    return head


async def test_connections_are_reused(client: UpstreamClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            await request_head(reader)
            writer.write(OK)

    server = Server()
    url = await server.start(serve)
    for _ in range(3):
        assert await get(client, url) == b"ok"
    assert server.connections == 1


async def test_a_stale_connection_is_replaced_once(client: UpstreamClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(OK)
        await writer.drain()
        await reader.read(10)

    server = Server()
    url = await server.start(serve)
    assert await get(client, url) == b"ok"
    assert await get(client, url) == b"ok"
    assert server.connections == 2


async def test_a_fresh_connection_that_closes_is_an_error(client: UpstreamClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)

    server = Server()
    with pytest.raises(UpstreamError) as caught:
        await get(client, await server.start(serve))
    assert (caught.value.error.status, caught.value.error.code) == (502, "disconnected")
    assert caught.value.scope == "none"
    assert server.connections == 1


async def test_redirects_are_not_followed(client: UpstreamClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    response = await client.send("POST", await Server().start(serve), headers={}, body=b"{}", timeouts=Timeouts())
    assert response.status == 307
    response.close()


async def test_silence_before_and_after_the_head(client: UpstreamClient) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def mute_later(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
        await reader.read()

    for serve, limits in (
        (mute, Timeouts(first_byte=0.1)),
        (mute_later, Timeouts(idle=0.1)),
        (mute_later, Timeouts(total=0.1)),
    ):
        with pytest.raises(UpstreamError) as caught:
            await get(client, await Server().start(serve), limits)
        assert caught.value.error.status == 504


async def test_nobody_listens(client: UpstreamClient) -> None:
    with pytest.raises(UpstreamError) as caught:
        await get(client, "http://127.0.0.1:1/")
    assert (caught.value.error.status, caught.value.error.code) == (502, "connect_error")


async def test_an_http_proxy_is_used_and_blamed(client: UpstreamClient) -> None:
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await request_head(reader))
        writer.write(OK)

    server = Server()
    await server.start(proxy)
    url = f"http://127.0.0.1:{server.port}"
    assert await get(client, "http://upstream.test/v1/x", proxy=url) == b"ok"
    assert seen[0].startswith(b"POST http://upstream.test/v1/x HTTP/1.1")
    with pytest.raises(UpstreamError) as caught:
        await get(client, "http://upstream.test/", proxy="http://127.0.0.1:1")
    assert caught.value.error.code == "proxy_error"
    with pytest.raises(UpstreamError) as caught:
        await get(client, "http://upstream.test/", proxy="socks5://127.0.0.1:1")
    assert caught.value.error.code == "proxy_error"


async def test_a_socks_proxy_carries_the_request(client: UpstreamClient) -> None:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(bytes([version, 0]))
        _, _, _, kind = await reader.readexactly(4)
        assert kind == 3, "the proxy resolves the name"
        name = await reader.readexactly((await reader.readexactly(1))[0])
        await reader.readexactly(2)
        writer.write(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
        assert name == b"upstream.test"
        await request_head(reader)
        writer.write(OK)

    server = Server()
    await server.start(proxy)
    assert await get(client, "http://upstream.test/", proxy=f"socks5h://127.0.0.1:{server.port}") == b"ok"


ENVIRON = {"HTTPS_PROXY": "http://env:1", "NO_PROXY": "internal.test,.corp"}


@pytest.mark.parametrize(
    ("account", "global_proxy", "host", "expected"),
    [
        ("", "", "api.test", "http://env:1"),
        ("", "", "internal.test", ""),
        ("", "", "a.corp", ""),
        ("", "", "127.0.0.1", ""),
        ("", "http://global:1", "api.test", "http://global:1"),
        ("socks5://mine:1", "http://global:1", "api.test", "socks5://mine:1"),
        ("direct", "http://global:1", "api.test", ""),
        ("NONE", "", "api.test", ""),
        ("", "direct", "api.test", ""),
    ],
)
def test_which_proxy(account: str, global_proxy: str, host: str, expected: str) -> None:
    assert choose_proxy(account, global_proxy, host, ENVIRON, "https") == expected


@pytest.mark.parametrize("url", ["ftp://x", "localhost:8080", "http://", "http://h:port", "socks4://x"])
def test_a_wrong_proxy_fails_closed(url: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        choose_proxy(url, "", "api.test", {}, "https")
    assert caught.value.error.code == "invalid_proxy"
    assert url not in str(caught.value)


def test_time_limits_of_an_entry_win_over_the_global_ones() -> None:
    base = Timeouts(connect=1, first_byte=2, idle=3, total=4)
    assert timeouts_from({"idle": 9}, base) == Timeouts(connect=1, first_byte=2, idle=9, total=4)
    assert timeouts_from(None, base) is base
