"""The sockets that the daemon listens on."""

from __future__ import annotations

import asyncio
import socket

import pytest

from cpa.server.listener import bind


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
async def test_the_end_of_an_answer_does_not_wait_for_the_client_to_confirm_its_beginning(host: str) -> None:
    """Whatever event loop runs: on connections with a delay, pieces that follow another come some 40 ms late."""
    accepted: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            accepted.set_result(transport)

    [listening] = bind(host, 0)
    server = await asyncio.get_running_loop().create_server(Accepting, sock=listening)
    _, writer = await asyncio.open_connection("127.0.0.1", listening.getsockname()[1])
    transport = await accepted
    assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    writer.close()
    transport.close()
    server.close()
