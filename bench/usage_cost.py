"""Measure what recording costs: CPU of a daemon that records, and does not, in turn.

    python -m bench.usage_cost [--pairs openai:openai,claude:openai] [--modes whole,burst] [--starts 5]
    python -m bench.usage_cost --histories

A daemon answers as fast as it can. Every twentieth of a second recording is switched on or off, in its memory: what a
machine does is as often on one side as on the other, and two daemons differ by more than what is measured. Prints the
CPU time of an answer without it, and the median difference between two such spans in turn. What threads do for an
answer comes later: all their time is counted, for the answers that were recorded. With ``--histories`` usage is always
recorded, and the history of every request (``request-log``) is switched. How many records were written is printed too,
for one that is lost costs nothing. Figures are medians of some daemons, started one after the other.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from operator import sub
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import msgspec
import uvloop
from msgspec import Struct

from bench.measure import Process, free_port
from bench.run import ROOT, configuration
from cpa.config import ConfigStore
from cpa.daemon import Daemon
from cpa.logs import LogFiles, Secrets, setup_logging
from cpa.memory import tune_allocator

MODES = "whole,burst"
WARM_SECONDS = 2.0
SPAN_SECONDS = 0.045
WRITTEN_SECONDS = 1.0
"""Within this time everything that was recorded is written."""
BETWEEN_SECONDS = 0.005
"""So long after a switch most of what is answered began after it."""


class Cost(Struct):
    """CPU microseconds of an answer: without recording, and what comes with it on the event loop and in threads."""

    off: float
    loop: float
    threads: float
    kept: float
    """The part of what was to be recorded that was written."""


class Reading(NamedTuple):
    """What has happened so far; CPU in seconds."""

    answers: int
    loop: float
    threads: float
    written: int

    def since(self, other: Reading) -> Reading:
        """What has happened between the two."""
        return Reading(*map(sub, self, other))


class Measured:
    """The daemon of this process, and how its recording is switched."""

    def __init__(self, daemon: Daemon, *, histories: bool) -> None:
        services: Any = daemon._services
        services.count_answer = self._count
        self._answers = 0
        self._store: Any = daemon.histories if histories else daemon.usage
        self._switched: Any = daemon.histories if histories else daemon._exchange
        self._name, self._off = ("begin", _no_history) if histories else ("trail", None)
        self._on = getattr(self._switched, self._name)

    def _count(self, *_: object) -> None:
        self._answers += 1

    def _switch(self, *, on: bool) -> None:
        """Record from now on, or do not."""
        setattr(self._switched, self._name, self._on if on else self._off)

    def _read(self) -> Reading:
        loop = time.thread_time()
        return Reading(self._answers, loop, time.process_time() - loop, self._store.status().written)

    async def _span(self, seconds: float) -> Reading:
        """What happens in a while."""
        before = self._read()
        await asyncio.sleep(seconds)
        return self._read().since(before)

    async def compare(self, seconds: float) -> Cost:
        """Switch on and off for so long."""
        self._switch(on=False)
        await asyncio.sleep(WARM_SECONDS)
        always = await self._span(WARM_SECONDS)
        began, wanted = self._read(), 0
        loops: dict[bool, list[float]] = {False: [], True: []}
        for number in range(int(seconds / (SPAN_SECONDS + BETWEEN_SECONDS)) // 4 * 4):
            on = number % 4 in (1, 2)
            self._switch(on=on)
            before = self._answers
            await asyncio.sleep(BETWEEN_SECONDS)
            span = await self._span(SPAN_SECONDS)
            loops[on].append(span.loop / max(span.answers, 1))
            wanted += self._answers - before if on else 0
        self._switch(on=False)
        await asyncio.sleep(WRITTEN_SECONDS)
        every = self._read().since(began)
        usual = always.threads / always.answers
        return Cost(
            (median(loops[False]) + usual) * 1e6,
            median(map(sub, loops[True], loops[False])) * 1e6,
            (every.threads - usual * every.answers) / every.written * 1e6,
            every.written / wanted,
        )


def _no_history(*_: object) -> None:
    """Takes the place of what begins a history."""


async def measure(names: str, mode: str, seconds: float, *, histories: bool) -> Cost:
    """Be the daemon that is measured."""
    with tempfile.TemporaryDirectory() as folder:
        upstream = Process(["-m", "bench.upstream", str(port := free_port())], port, cwd=ROOT)
        await upstream.wait()
        path = configuration(upstream.url, port := free_port(), Path(folder), histories=histories)
        store, secrets, files = ConfigStore(path, os.environ), Secrets(), LogFiles()
        setup_logging(secrets, debug=False, environ=os.environ, files=files)
        daemon = Daemon(store, os.environ, secrets, local_password="", log_files=files)
        await daemon.start()
        load = subprocess.Popen([sys.executable, "-m", "bench.load", f"http://127.0.0.1:{port}", names, mode], cwd=ROOT)
        try:
            return await Measured(daemon, histories=histories).compare(seconds)
        finally:
            load.terminate()
            load.wait()
            await daemon.stop()
            upstream.stop()


def measured_apart(names: str, mode: str, given: argparse.Namespace) -> Cost:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "bench.usage_cost", "--one", "--pairs", names, "--modes", mode]
    command += ["--seconds", str(given.seconds), *(["--histories"] if given.histories else [])]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return msgspec.json.decode(done.stdout, type=Cost)


def show(names: str, costs: list[Cost]) -> None:
    """Print a line of figures."""
    off, loop, threads, _ = (median(getattr(cost, name) for cost in costs) for name in Cost.__struct_fields__)
    shares = sorted(100 * (cost.loop + cost.threads) / cost.off for cost in costs)
    print(
        f"{names:20} off {off:6.1f} us  more {loop + threads:5.1f} us (loop {loop:.1f}, threads {threads:.1f})  "
        f"{median(shares):4.1f} % ({shares[0]:.1f} to {shares[-1]:.1f})",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="openai:openai,claude:claude,claude:openai")
    parser.add_argument("--modes", default=MODES)
    parser.add_argument("--starts", type=int, default=3, help="daemons for each figure")
    parser.add_argument("--seconds", type=float, default=12.0, help="for each of them")
    parser.add_argument("--histories", action="store_true", help="what request-log costs, instead")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        tune_allocator()
        cost = uvloop.run(measure(given.pairs, given.modes, given.seconds, histories=given.histories))
        print(msgspec.json.encode(cost).decode())
        return
    print("cost of request histories" if given.histories else "cost of recording usage")
    kept = []
    for mode in given.modes.split(","):
        for names in given.pairs.split(","):
            costs = [measured_apart(names, mode, given) for _ in range(given.starts)]
            kept += [cost.kept for cost in costs]
            show(f"{names} {mode}", costs)
    print(f"{100 * fmean(kept):.1f} % of them were written")


if __name__ == "__main__":
    main()
