"""The usage queue, over HTTP and over the Redis protocol."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from cpa.usage import usage_queue
from cpa.usage.usage_queue import UsageQueue
from tests.management.conftest import KEY, Managed, Start


@pytest.fixture
async def counting(start: Start) -> Managed:
    """A daemon that records usage."""
    daemon: Managed = await start("usage-statistics-enabled: true\n")
    return daemon


async def raw(daemon: Managed, *commands: bytes) -> bytes:
    """Send bytes over a connection of its own; everything that comes back until it is closed or silent."""
    host, port = daemon.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"".join(commands))
    found = b""
    try:
        async with asyncio.timeout(0.5):
            while chunk := await reader.read(65536):
                found += chunk
    except TimeoutError:
        pass
    writer.close()
    return found


def command(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w.encode()), w.encode()) for w in words)


def client(daemon: Managed, **options: Any) -> redis.asyncio.Redis:
    host, port = daemon.url.removeprefix("http://").split(":")
    options = {"password": KEY, "protocol": 2, **options}
    return redis.asyncio.Redis(host=host, port=int(port), **options)


AUTH, QUIT = command("AUTH", KEY), command("QUIT")


async def test_items_are_popped_over_http(counting: Managed) -> None:
    for number in range(3):
        counting.daemon.usage_queue.put(b'{"n":%d}' % number)
    assert (await counting.call("GET", "/usage-queue")).json == [{"n": 0}]
    for wrong in ("0", "-1", "x", ""):
        answer = await counting.call("GET", f"/usage-queue?count={wrong}")
        assert (answer.status, answer.json) == (400, {"error": "count must be a positive integer"})
    assert (await counting.call("GET", "/usage-queue?count=9")).json == [{"n": 1}, {"n": 2}]
    assert (await counting.call("GET", "/usage-queue")).json == []


async def test_a_stock_redis_client_pops_what_http_would(counting: Managed) -> None:
    async with client(counting) as collector:
        assert await collector.ping()
        for number in range(4):
            counting.daemon.usage_queue.put(b"%d" % number)
        assert await collector.llen("usage") == 4
        assert await collector.lpop("usage") == b"0"
        assert await collector.rpop("queue", 2) == [b"1", b"2"]
        assert await collector.lpop("anything", 9) == [b"3"]
        assert await collector.lpop("usage") is None
        assert await collector.echo("x") == b"x"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_stock_redis_client_listens(counting: Managed, protocol: int) -> None:
    async with client(counting, protocol=protocol) as collector, collector.pubsub() as listening:
        await listening.subscribe("usage")
        told = [await listening.get_message(timeout=2) for _ in range(2)]
        assert [message["type"] for message in told if message] == ["subscribe", "message"]
        counting.daemon.usage_queue.put(b'{"n":1}')
        message = await listening.get_message(ignore_subscribe_messages=True, timeout=2)
        assert message is not None
        assert message["data"] == b'{"n":1}'
        assert len(counting.daemon.usage_queue) == 0
        await listening.ping("still there")
        counting.daemon.usage_queue.put(b'{"n":2}')
        seen = [await listening.get_message(ignore_subscribe_messages=True, timeout=2) for _ in range(2)]
        assert b'{"n":2}' in [message["data"] for message in seen if message]
        await listening.unsubscribe("usage")
        gone = await listening.get_message(timeout=2)
        assert gone is not None
        assert gone["type"] == "unsubscribe"


async def test_a_wrong_key_is_refused_and_shuts_out_over_http_too(counting: Managed) -> None:
    with pytest.raises(redis.exceptions.ResponseError, match="invalid management key"):
        async with client(counting, password="wrong") as collector:
            await collector.ping()
    for _ in range(4):
        await raw(counting, command("AUTH", "wrong"))
    assert b"-ERR IP banned" in await raw(counting, AUTH)
    assert (await counting.call("GET", "/debug")).status == 403


@pytest.mark.parametrize(
    ("sent", "reply"),
    [
        (AUTH, rb"\+OK\r\n"),
        (command("auth", "default", KEY), rb"\+OK\r\n"),
        (command("AUTH"), rb"-ERR wrong number of arguments for 'auth' command\r\n"),
        (command("AUTH", "a", "b", "c"), rb"-ERR wrong number of arguments for 'auth' command\r\n"),
        (command("AUTH", ""), rb"-ERR missing management key\r\n"),
        (command("LPOP", "usage"), rb"-NOAUTH Authentication required\.\r\n"),
        (AUTH + command("LPOP", "usage"), rb"\+OK\r\n\$-1\r\n"),
        (AUTH + command("LPOP", "usage", "2"), rb"\+OK\r\n\*0\r\n"),
        (AUTH + command("LPOP"), rb"\+OK\r\n-ERR wrong number of arguments for 'lpop' command\r\n"),
        (AUTH + command("RPOP", "a", "1", "2"), rb"\+OK\r\n-ERR wrong number of arguments for 'rpop' command\r\n"),
        (AUTH + command("LPOP", "usage", "0"), rb"\+OK\r\n-ERR value is not an integer or out of range\r\n"),
        (AUTH + command("LPOP", "usage", "x"), rb"\+OK\r\n-ERR value is not an integer or out of range\r\n"),
        (AUTH + command("FLUSHALL"), rb"\+OK\r\n-ERR unknown command 'FLUSHALL'\r\n"),
        (AUTH + b"*0\r\n", rb"\+OK\r\n-ERR empty command\r\n"),
        (AUTH + b"PING\r\n", rb"\+OK\r\n-ERR protocol error\r\n"),
        (b"*1\r\n$99999999\r\n", rb"-ERR protocol error\r\n"),
        (b"*1000\r\n", rb"-ERR protocol error\r\n"),
        (b"*--1\r\n", rb"-ERR protocol error\r\n"),
        (b"*1-\r\n", rb"-ERR protocol error\r\n"),
        (b"*+1\r\n", rb"-ERR protocol error\r\n"),
        (b"$4\r\nPING\r\n", rb"-ERR protocol error\r\n"),
        (b"*1\r\n$4\r\nPINGxx", rb"-ERR protocol error\r\n"),
        (command("HELLO", "2") + QUIT, rb"\*4\r\n\$6\r\nserver\r\n\$3\r\ncpa\r\n\$5\r\nproto\r\n:2\r\n\+OK\r\n"),
        (command("HELLO", "3") + QUIT, rb"%2\r\n\$6\r\nserver\r\n\$3\r\ncpa\r\n\$5\r\nproto\r\n:3\r\n\+OK\r\n"),
        (command("HELLO", "4") + QUIT, rb"-NOPROTO .*\r\n\+OK\r\n"),
        (command("HELLO", "3", "AUTH", "default", "no") + QUIT, rb"-ERR invalid management key\r\n\+OK\r\n"),
        (command("HELLO", "3", "AUTH", "default") + QUIT, rb"-ERR syntax error in HELLO\r\n\+OK\r\n"),
        (command("HELLO", "3", "SETNAME") + QUIT, rb"-ERR syntax error in HELLO\r\n\+OK\r\n"),
        (
            command("HELLO", "3") + command("LPOP", "usage") + QUIT,
            rb"%2\r\n.*:3\r\n-NOAUTH Authentication required\.\r\n\+OK\r\n",
        ),
        (
            command("HELLO", "3", "AUTH", "d", KEY, "SETNAME", "x") + command("LPOP", "usage") + QUIT,
            rb"%2\r\n.*_\r\n\+OK\r\n",
        ),
        (
            AUTH + command("CLIENT", "SETNAME", "x") + command("CLIENT") + QUIT,
            rb"\+OK\r\n\+OK\r\n-ERR unknown .*\r\n\+OK\r\n",
        ),
        (AUTH + command("QUIT"), rb"\+OK\r\n\+OK\r\n"),
        (AUTH + command("SUBSCRIBE", "other"), rb"\+OK\r\n-ERR unsupported channel 'other'\r\n"),
    ],
)
async def test_replies_are_exact(counting: Managed, sent: bytes, reply: bytes) -> None:
    found = await raw(counting, sent)
    assert re.fullmatch(reply, found, re.DOTALL), found


async def test_commands_cut_anywhere_are_understood(counting: Managed) -> None:
    whole = AUTH + command("PING")
    host, port = counting.url.removeprefix("http://").split(":")
    for at in range(1, len(whole)):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(whole[:at])
        await writer.drain()
        await asyncio.sleep(0)
        writer.write(whole[at:])
        assert await reader.readexactly(len(b"+OK\r\n+PONG\r\n")) == b"+OK\r\n+PONG\r\n"
        writer.close()


async def test_without_a_management_key_the_connection_is_closed(start: Start) -> None:
    daemon: Managed = await start(secret_key="")
    assert await raw(daemon, AUTH) == b""
    async with daemon.session.get(f"{daemon.url}/healthz") as answer:
        assert answer.status == 200


async def test_a_silent_connection_is_closed(counting: Managed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpa.server.connections.HEAD_SECONDS", 0.1)
    host, port = counting.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_statistics_that_are_off_leave_nothing_to_pop(counting: Managed) -> None:
    counting.daemon.usage_queue.put(b"{}")
    counting.edit(counting.file.replace("usage-statistics-enabled: true", "usage-statistics-enabled: false"))
    counting.daemon.usage_queue.put(b"{}")
    assert (await counting.call("GET", "/usage-queue")).json == []


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def timed() -> tuple[UsageQueue, Clock]:
    clock = Clock()
    queue = UsageQueue(clock)
    queue.configure(enabled=True, retention=60)
    return queue, clock


def test_items_go_when_their_time_is_over(timed: tuple[UsageQueue, Clock]) -> None:
    queue, clock = timed
    queue.put(b"old")
    clock.now = 50
    queue.put(b"new")
    clock.now = 61
    assert queue.pop(9) == [b"new"]


async def test_a_collector_that_pops_loses_nothing_to_one_that_listens(timed: tuple[UsageQueue, Clock]) -> None:
    queue, clock = timed
    listener = queue.listeners.listen()
    queue.put(b"1")
    assert len(queue) == 0
    queue.pop(1)
    queue.put(b"2")
    assert queue.pop(9) == [b"2"]
    clock.now = 61
    queue.put(b"3")
    assert len(queue) == 0
    assert [listener.payloads.get_nowait() for _ in range(3)] == [b"1", b"2", b"3"]


async def test_a_listener_that_cannot_keep_up_is_let_go(timed: tuple[UsageQueue, Clock]) -> None:
    queue, _ = timed
    listener = queue.listeners.listen()
    for _ in range(usage_queue.LISTENER_ITEMS + 5):
        queue.put(b"x")
    assert listener.ended.is_set()
    assert not queue.listeners
    assert listener.payloads.qsize() == usage_queue.LISTENER_ITEMS + 1


def test_a_queue_nobody_empties_is_bounded(timed: tuple[UsageQueue, Clock], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_queue, "MOST_ITEMS", 10)
    queue, _ = timed
    for number in range(15):
        queue.put(b"%d" % number)
    assert queue.dropped == 5
    assert queue.pop(99)[0] == b"5"
