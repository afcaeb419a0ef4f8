"""Measure what recording usage costs: CPU of one daemon that records, and does not, in turn.

    python -m bench.usage_cost [--pairs openai:openai,claude:openai] [--modes whole,burst,paced] [--rounds 24]
    python -m bench.usage_cost --histories

For each pair of client and upstream format, and each mode of :mod:`bench.run`, a daemon answers requests without
recording, with it, with it, without it, and so on: what a machine does to two rounds in turn is as often on one side as
on the other. It is one process, because two differ by more than what is measured. The threads that write are counted,
and have written everything before a round is over. Prints the CPU time of an answer without, and the median difference
between two rounds in turn (the lowest of many rounds differ by more than that by chance), and how much of it the
threads took. With ``--histories`` usage is always recorded, and the history of every request (``request-log``) is
switched; how many were kept is printed too, for one that is lost costs nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from msgspec import Struct

from bench import load
from bench.fixtures import request_body
from bench.measure import Process, free_port
from bench.run import ROOT, UPSTREAMS, configuration


class Round(NamedTuple):
    """How much is asked in one."""

    requests: int
    connections: int
    rounds: int


MODES = {"whole": Round(3000, 16, 15), "burst": Round(200, 4, 8), "paced": Round(200, 200, 4)}
WRITTEN_SECONDS = 1.0
"""Within this time everything that was recorded is written."""
SWITCHED_SECONDS = 1.5
"""Within this time a daemon has taken a configuration that has changed."""


class Switched:
    """A daemon whose recording can be switched, and its upstream."""

    def __init__(self, folder: Path, *, histories: bool) -> None:
        self._folder = folder
        self._histories = histories
        port = free_port()
        self.upstream = Process(["-m", "bench.upstream", str(port)], port, cwd=ROOT)
        self._port = free_port()
        self._on = True
        path = self._configure(on=True)
        self.daemon = Process(["-m", "cpa", "serve", "--config", str(path)], self._port, cwd=ROOT)

    def _configure(self, *, on: bool) -> Path:
        more = {"histories": on} if self._histories else {"usage": on}
        return configuration(self.upstream.url, self._port, self._folder, **more)

    async def ready(self) -> None:
        """Wait for both."""
        for process in (self.upstream, self.daemon):
            await process.wait()

    async def switch(self, *, on: bool) -> None:
        """Record from now on, or do not."""
        if on != self._on:
            self._on = on
            self._configure(on=on)
            await asyncio.sleep(SWITCHED_SECONDS)

    def stop(self) -> None:
        """End both."""
        for process in (self.daemon, self.upstream):
            process.stop()


def kept_histories(folder: Path) -> int:
    """How many histories are in the database."""
    connection = sqlite3.connect(folder / "data" / "usage.sqlite")
    try:
        return int(connection.execute("SELECT count(*) FROM request_history_ids").fetchone()[0])
    finally:
        connection.close()


class Cost(Struct):
    """CPU seconds of an answer."""

    loop: float
    threads: float


async def cost(process: Process, path: str, body: bytes, mode: str) -> Cost:
    """What an answer costs."""
    requests, connections, _ = MODES[mode]
    loop, every = process.cpu(main=True), process.cpu()
    await load.run(load.Work(process.url + path, body, mode, requests, connections))
    await asyncio.sleep(WRITTEN_SECONDS)
    loop, every = process.cpu(main=True) - loop, process.cpu() - every
    return Cost(loop / requests, (every - loop) / requests)


async def compare(switched: Switched, names: str, mode: str, rounds: int) -> int:
    """Measure a pair in one mode, and print what was found; how many requests were recorded."""
    client, _, upstream = names.partition(":")
    path, body = request_body(client, f"bench-{UPSTREAMS[upstream]}", stream=mode != "whole")
    costs: dict[bool, list[Cost]] = {False: [], True: []}
    for number in range(2 * rounds + 2):
        on = number % 4 in (1, 2)
        await switched.switch(on=on)
        found = await cost(switched.daemon, path, body, mode)
        if number > 1:
            costs[on].append(found)
    show(f"{names} {mode}", costs[False], costs[True])
    return (rounds + 1) * MODES[mode].requests


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="openai:openai,claude:claude,claude:openai")
    parser.add_argument("--modes", default=",".join(MODES))
    parser.add_argument("--rounds", type=int, default=0, help="more of them are surer")
    parser.add_argument("--histories", action="store_true", help="what request-log costs, instead")
    given = parser.parse_args()
    print("cost of request histories" if given.histories else "cost of recording usage")
    with tempfile.TemporaryDirectory() as folder:
        switched = Switched(Path(folder), histories=given.histories)
        try:
            await switched.ready()
            recorded = 0
            for mode in given.modes.split(","):
                for names in given.pairs.split(","):
                    recorded += await compare(switched, names, mode, given.rounds or MODES[mode].rounds)
            if given.histories:
                print(f"kept {kept_histories(Path(folder))} of {recorded} histories")
        finally:
            switched.stop()


def show(names: str, off: list[Cost], on: list[Cost]) -> None:
    """Print a line of figures in microseconds."""
    base = median(each.loop + each.threads for each in off) * 1e6
    loop, threads = (
        median(getattr(one, name) - getattr(other, name) for one, other in zip(on, off, strict=True)) * 1e6
        for name in Cost.__struct_fields__
    )
    more = loop + threads
    print(
        f"{names:20} off {base:6.1f} us  on {base + more:6.1f} us  more {more:5.1f} us  {100 * more / base:4.1f} %  "
        f"(loop {loop:.1f}, threads {threads:.1f})",
        flush=True,
    )


if __name__ == "__main__":
    asyncio.run(main())
