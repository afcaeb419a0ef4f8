"""``python -m bench.reliability NAME``: one run at full size, its figures as JSON."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from collections.abc import Awaitable, Callable

import msgspec

from bench.reliability import disconnects, reload_storm, slow_clients, soak
from bench.reliability.stage import Stage


def _burn() -> None:
    while True:
        pass


async def starved(stage: Stage) -> object:
    """A short soak beside two programs that take all the processor time they get."""
    burning = [multiprocessing.Process(target=_burn, daemon=True) for _ in range(2)]
    for process in burning:
        process.start()
    try:
        return await soak.run(stage, 60, workers=6)
    finally:
        for process in burning:
            process.kill()


RUNS: dict[str, Callable[[Stage], Awaitable[object]]] = {
    "disconnects": lambda stage: disconnects.run(stage, 10_000, together=16),
    "reload-storm": lambda stage: reload_storm.run(stage, 100, 10.0),
    "slow-clients": lambda stage: slow_clients.run(stage, 1000, 200, 500),
    "soak": lambda stage: soak.run(stage, 600),
    "starved": starved,
}


async def main(name: str) -> None:
    """Run one and print what came of it."""
    async with Stage.open() as stage:
        result = await RUNS[name](stage)
    print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in RUNS:
        sys.exit(f"name one of: {', '.join(RUNS)}")
    asyncio.run(main(sys.argv[1]))
