"""The load client: asks one question over and over, on a fixed number of connections.

    python -m bench.load http://127.0.0.1:8317 claude:openai whole

asks it until it is stopped.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
from msgspec import Struct


class Work(Struct):
    """One kind of request to repeat."""

    url: str
    body: bytes
    mode: str
    """``whole``, ``burst`` or ``paced``."""
    requests: int
    connections: int


async def run(work: Work) -> int:
    """Do the work; the number of bytes received. Raises RuntimeError when an answer is not 200."""
    left = work.requests
    received = 0
    headers = {
        "Content-Type": "application/json",
        "Authorization": "Bearer bench-key",
        "X-Bench": work.mode,
    }
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:

        async def worker() -> None:
            nonlocal left, received
            while left > 0:
                left -= 1
                async with session.post(work.url, data=work.body, headers=headers) as answer:
                    content = await answer.read()
                    if answer.status != 200 or not content:
                        raise RuntimeError(f"{work.url}: {answer.status} {content[:300]!r}")
                    received += len(content)

        async with asyncio.TaskGroup() as group:
            for _ in range(work.connections):
                group.create_task(worker())
    return received


async def ask_on(address: str, names: str, mode: str) -> None:
    """Ask a daemon with the configuration of :mod:`bench.run` until cancelled; ``names`` are client and upstream."""
    from bench.fixtures import request_body
    from bench.run import UPSTREAMS

    client, _, upstream = names.partition(":")
    path, body = request_body(client, f"bench-{UPSTREAMS[upstream]}", stream=mode != "whole")
    await run(Work(address + path, body, mode, sys.maxsize, 16 if mode == "whole" else 4))


if __name__ == "__main__":
    asyncio.run(ask_on(*sys.argv[1:]))
