"""Measure what recording usage costs: CPU of a daemon that records and of one that does not, in turn.

    python -m bench.usage_cost [--pairs openai:openai,claude:openai] [--requests 1000] [--rounds 15]
    python -m bench.usage_cost --histories [--mode burst]

For each pair of client and upstream format both daemons answer the same requests on 16 connections (4 for streams);
the threads that write are counted, and have written everything before a round is over. Prints the CPU time of an answer
with and without, the lowest of all rounds (other programs only ever add to it), and the difference. With
``--histories`` both record usage, and one of them keeps the history of every request besides (``request-log``); how
many it kept is printed too, for one that is lost costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
from pathlib import Path

from bench import load
from bench.fixtures import request_body
from bench.measure import Process, free_port
from bench.run import ROOT, UPSTREAMS, configuration

CONNECTIONS = {"whole": 16, "burst": 4}
WRITTEN_SECONDS = 1.0
"""Within this time everything that was recorded is written."""


class Pair:
    """A daemon that records, one that does not, and their upstream."""

    def __init__(self, folder: Path, *, histories: bool) -> None:
        self._histories = histories
        port = free_port()
        self.upstream = Process(["-m", "bench.upstream", str(port)], port, cwd=ROOT)
        self.with_usage, self.without = (self._daemon(folder / str(usage), usage) for usage in (True, False))

    def _daemon(self, folder: Path, usage: bool) -> Process:
        folder.mkdir()
        port = free_port()
        more = {"histories": usage} if self._histories else {"usage": usage}
        path = configuration(self.upstream.url, port, folder, **more)
        return Process(["-m", "cpa", "serve", "--config", str(path)], port, cwd=ROOT)

    async def ready(self) -> None:
        """Wait for all."""
        for process in (self.upstream, self.with_usage, self.without):
            await process.wait()

    def stop(self) -> None:
        """End all."""
        for process in (self.with_usage, self.without, self.upstream):
            process.stop()


def kept_histories(folder: Path) -> int:
    """How many histories are in the database."""
    connection = sqlite3.connect(folder / "True" / "data" / "usage.sqlite")
    try:
        return int(connection.execute("SELECT count(*) FROM request_histories").fetchone()[0])
    finally:
        connection.close()


async def cost(process: Process, path: str, body: bytes, requests: int, mode: str) -> float:
    """CPU seconds of an answer."""
    before = process.cpu()
    await load.run(load.Work(process.url + path, body, mode, requests, CONNECTIONS[mode]))
    await asyncio.sleep(WRITTEN_SECONDS)
    return (process.cpu() - before) / requests


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", default="openai:openai,claude:claude,claude:openai")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--histories", action="store_true", help="what request-log costs, instead")
    parser.add_argument("--mode", choices=list(CONNECTIONS), default="whole")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path(folder), histories=given.histories)
        try:
            await pair.ready()
            asked = 0
            for names in given.pairs.split(","):
                client, _, upstream = names.partition(":")
                path, body = request_body(client, f"bench-{UPSTREAMS[upstream]}", stream=given.mode != "whole")
                on, off = [], []
                for number in range(given.rounds + 1):
                    one = await cost(pair.without, path, body, given.requests, given.mode)
                    other = await cost(pair.with_usage, path, body, given.requests, given.mode)
                    asked += given.requests
                    if number:
                        off.append(one)
                        on.append(other)
                more = min(on) - min(off)
                print(
                    f"{names:16} off {min(off) * 1e6:6.1f} us  on {min(on) * 1e6:6.1f} us  "
                    f"more {more * 1e6:5.1f} us  {100 * more / min(off):4.1f} %",
                    flush=True,
                )
            if given.histories:
                print(f"kept {kept_histories(Path(folder))} of {asked} histories")
        finally:
            pair.stop()


if __name__ == "__main__":
    asyncio.run(main())
