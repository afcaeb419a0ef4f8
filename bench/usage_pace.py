"""What recording does to requests that come at a steady pace, and how far behind the record is.

    python -m bench.usage_pace [--rate 10000] [--minutes 5]

Two daemons, one of which records, each get ``rate`` requests a minute over one upstream, in turn and in pairs. Every
half second one request is looked for in the database until it stands there. Prints latency with and without the record,
how long rows took to be written, and whether any is missing.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sqlite3
import tempfile
import time
from pathlib import Path

import aiohttp
from msgspec import Struct, field

from bench.fixtures import request_body
from bench.measure import Process, free_port
from bench.run import ROOT, UPSTREAMS, configuration

LOOK_SECONDS = 0.5
POLL_SECONDS = 0.01


class Seen(Struct):
    """What was measured, in seconds."""

    recorded: list[float] = field(default_factory=list)
    """Latency of answers of the daemon that records."""
    plain: list[float] = field(default_factory=list)
    """Of the other one."""
    behind: list[float] = field(default_factory=list)
    """From an answer to its row."""


class Pair:
    """A daemon that records, one that does not, and their upstream."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.upstream = Process(["-m", "bench.upstream", str(port)], port, cwd=ROOT)
        self.with_usage, self.without = (self._daemon(folder / str(usage), usage) for usage in (True, False))

    def _daemon(self, folder: Path, usage: bool) -> Process:
        folder.mkdir()
        port = free_port()
        path = configuration(self.upstream.url, port, folder, usage=usage)
        return Process(["-m", "cpa", "serve", "--config", str(path)], port, cwd=ROOT)

    async def ready(self) -> None:
        """Wait for all."""
        for process in (self.upstream, self.with_usage, self.without):
            await process.wait()

    def stop(self) -> None:
        """End all."""
        for process in (self.with_usage, self.without, self.upstream):
            process.stop()


class Pace:
    """Sends requests at a steady pace, whatever becomes of those before."""

    def __init__(self, pair: Pair, database: Path, session: aiohttp.ClientSession) -> None:
        self._pair = pair
        self._database = database
        self._session = session
        self._path, self._body = request_body("openai", f"bench-{UPSTREAMS['openai']}", stream=False)
        self.seen = Seen()

    async def run(self, rate: int, seconds: float) -> None:
        """``rate`` requests a minute to each daemon; the order within a pair is left to chance."""
        begun, number = time.monotonic(), 0
        looking = time.monotonic() + LOOK_SECONDS
        async with asyncio.TaskGroup() as group:
            while (now := time.monotonic()) < begun + seconds:
                if (due := begun + number * 60 / rate) > now:
                    await asyncio.sleep(due - now)
                    continue
                look = now > looking
                if look:
                    looking = now + LOOK_SECONDS
                group.create_task(self.both(number, look=look))
                number += 1

    async def both(self, number: int, *, look: bool) -> None:
        """One request to each daemon; with ``look`` wait until the record has it."""
        places = [(self._pair.with_usage.url, self.seen.recorded), (self._pair.without.url, self.seen.plain)]
        random.shuffle(places)
        for url, taken in places:
            taken.append(await self._ask(url, f"pace-{number}"))
        if look:
            await self._look(f"pace-{number}", time.monotonic())

    async def _ask(self, url: str, request_id: str) -> float:
        headers = {
            "Content-Type": "application/json",
            "Authorization": "Bearer bench-key",
            "X-Bench": "whole",
            "X-Request-Id": request_id,
        }
        begun = time.perf_counter()
        async with self._session.post(url + self._path, data=self._body, headers=headers) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{url}: {answer.status}")
        return time.perf_counter() - begun

    async def _look(self, request_id: str, since: float) -> None:
        while not await asyncio.to_thread(rows, self._database, request_id):
            await asyncio.sleep(POLL_SECONDS)
        self.seen.behind.append(time.monotonic() - since)


def rows(database: Path, request_id: str | None = None) -> int:
    """Rows in the database, of one request or of all."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        if request_id is None:
            return int(connection.execute("SELECT count(*) FROM usage_events").fetchone()[0])
        query = "SELECT count(*) FROM usage_events WHERE request_id = ?"
        return int(connection.execute(query, (request_id,)).fetchone()[0])
    finally:
        connection.close()


def quantiles(values: list[float]) -> tuple[float, float, float]:
    """Median, 99th of a hundred, and the largest, in milliseconds."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[last // 2] * 1000, ordered[int(last * 0.99)] * 1000, ordered[last] * 1000


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=10_000, help="requests a minute to each daemon")
    parser.add_argument("--minutes", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pair = Pair(folder)
        try:
            await pair.ready()
            database = folder / "True" / "data" / "usage.sqlite"
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                warm = Pace(pair, database, session)
                for number in range(50):
                    await warm.both(-1 - number, look=False)
                await asyncio.sleep(1)
                before = rows(database)
                pace = Pace(pair, database, session)
                await pace.run(given.rate, given.minutes * 60)
                await asyncio.sleep(1)
        finally:
            pair.stop()
        seen, written = pace.seen, rows(database) - before
    print(f"{len(seen.recorded):,} answers, {written:,} rows: {len(seen.recorded) - written} missing")
    with_record, without = quantiles(seen.recorded), quantiles(seen.plain)
    for label, (median, p99, most) in (("with the record", with_record), ("without", without)):
        print(f"{label:16} median {median:6.2f}  p99 {p99:6.2f}  max {most:7.2f} ms")
    print(f"added            median {with_record[0] - without[0]:6.2f}  p99 {with_record[1] - without[1]:6.2f} ms")
    median, p99, most = quantiles(seen.behind)
    print(f"behind           median {median:6.0f}  p99 {p99:6.0f}  max {most:7.0f} ms, of {len(seen.behind)} rows")


if __name__ == "__main__":
    asyncio.run(main())
