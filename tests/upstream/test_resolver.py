"""Names that cannot be looked up, or not now: a clear error in time, and nobody else waits."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cpa.upstream import resolver
from cpa.upstream.address import Origin
from cpa.upstream.faults import WireFault
from cpa.upstream.pool import ConnectionPool
from cpa.upstream.resolver import Resolver

REAL = socket.getaddrinfo


class Names:
    """A name server: ``blocked.test`` is not answered until released, ``good.test`` is this machine."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.asked: list[str] = []

    def __call__(self, host: str, port: int, *rest: Any, **more: Any) -> Any:
        if more.get("flags") == socket.AI_NUMERICHOST:
            return REAL(host, port, *rest, **more)
        self.asked.append(host)
        if host == "blocked.test":
            self.released.wait(10)
        if host in ("good.test", "blocked.test"):
            return REAL("127.0.0.1", port, *rest, **more)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    made = Names()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.released.set()


async def test_an_address_needs_no_name_server(names: Names) -> None:
    assert (await Resolver().addresses("127.0.0.1", 80))[0][4] == ("127.0.0.1", 80)
    assert (await Resolver().addresses("::1", 80))[0][4][:2] == ("::1", 80)
    assert names.asked == []


async def test_a_blocked_name_holds_nobody_else_up(names: Names) -> None:
    """Property 14: a hundred requests for a name that is not answered, and one for another."""
    asking = Resolver()
    blocked = [asyncio.create_task(asking.addresses("blocked.test", 80)) for _ in range(100)]
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    assert (await asking.addresses("good.test", 80))[0][4] == ("127.0.0.1", 80)
    assert await asyncio.to_thread(lambda: 1) == 1
    assert time.monotonic() - begun < 20
    assert names.asked.count("blocked.test") == 1
    names.released.set()
    assert len({str(await task) for task in blocked}) == 1


async def test_one_that_gives_up_takes_nothing_from_the_others(names: Names) -> None:
    asking = Resolver()
    impatient, patient = (asyncio.create_task(asking.addresses("blocked.test", 80)) for _ in range(2))
    await asyncio.sleep(0.05)
    impatient.cancel()
    names.released.set()
    assert await patient


async def test_a_name_that_is_none_is_said_so(names: Names) -> None:
    pool = ConnectionPool()
    with pytest.raises(WireFault, match=r"the name nobody\.test cannot be resolved"):
        await pool.open(Origin("http", "nobody.test", 80), 5)
    with pytest.raises(WireFault, match="cannot be resolved"):
        await pool.open(Origin("http", "a" * 70 + ".test", 80), 5)


async def test_a_name_that_takes_too_long_ends_with_the_time_for_connecting(names: Names) -> None:
    pool = ConnectionPool()
    begun = time.monotonic()
    with pytest.raises(WireFault, match=r"connecting to blocked\.test took too long"):
        await pool.open(Origin("http", "blocked.test", 80), 0.2)
    assert time.monotonic() - begun < 20


async def test_lookups_are_bounded(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "MOST_LOOKUPS", 1)
    asking = Resolver()
    first = asyncio.create_task(asking.addresses("blocked.test", 80))
    await asyncio.sleep(0.05)
    with pytest.raises(socket.gaierror):
        await asking.addresses("good.test", 80)
    names.released.set()
    assert await first
