"""What thousands of auth files cost a daemon: start, memory, one file changed, many files changed.

    python -m bench.auth_files [--files 10000]

Resident memory and the start include everything the daemon does with an empty configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct

from bench.measure import Process, free_port

TOKEN = "eyJhbGciOiJSUzI1NiJ9." + "QUJD" * 400 + ".c2lnbmF0dXJl"
"""As long as the tokens vendors give."""
PAUSE = 0.02


class Figures(Struct):
    """What was measured."""

    files: int
    start_seconds: float
    resident_mb: float
    change_seconds: float
    """From the write of one file to an answer that knows it."""
    add_seconds: float
    delete_seconds: float
    burst_seconds: float
    """A tenth of the files (1,000 at most) rewritten: until the last one is in force."""
    slowest_answer_ms: float
    """Of a request that was asked again and again meanwhile."""


def content(number: int) -> dict[str, Any]:
    """One auth file, of four types in turn."""
    mail = f"user{number}@example.com"
    fields: dict[str, Any] = {"access_token": TOKEN + str(number), "refresh_token": f"rt-{number}", "email": mail}
    match number % 4:
        case 0:
            return {"type": "claude", "expired": "2099-01-01T00:00:00Z", **fields}
        case 1:
            return {"type": "codex", "account_id": f"acc{number}", "expired": "2099-01-01T00:00:00Z", **fields}
        case 2:
            return {
                "type": "vertex",
                "service_account": {"private_key": "x" * 1700, "client_email": mail, "project_id": "p"},
                "project_id": f"p{number}",
            }
        case _:
            return {"type": "kimi", "expired": "2099-01-01T00:00:00Z", **fields}


def write(folder: Path, number: int, **more: Any) -> None:
    """Write a file the way other programs do, by rename."""
    path = folder / f"file-{number}.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({**content(number), **more}))
    os.replace(temporary, path)


async def offered(session: aiohttp.ClientSession, url: str, prefix: str) -> bool:
    """Whether the vertex account with this prefix serves."""
    async with session.get(f"{url}/v1/models/{prefix}/gemini-2.5-pro") as answer:
        return answer.status == 200


async def until(session: aiohttp.ClientSession, url: str, prefix: str, wanted: bool = True) -> float:
    """Seconds until the account with this prefix serves (or does not)."""
    started = time.perf_counter()
    while await offered(session, url, prefix) is not wanted:
        if time.perf_counter() - started > 60:
            raise RuntimeError(f"{prefix} never came or never went")
        await asyncio.sleep(PAUSE)
    return time.perf_counter() - started


async def measure(files: int) -> Figures:
    """Run a daemon over that many files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "auth"
        folder.mkdir()
        for number in range(files):
            write(folder, number)
        port = free_port()
        config = Path(name) / "config.yaml"
        config.write_text(f"host: 127.0.0.1\nport: {port}\nauth-dir: {folder}\nusage-database-path: {name}/u.sqlite\n")
        process = Process(["-m", "cpa", "serve", "--config", str(config)], port, cwd=Path(__file__).parents[1])
        try:
            start = await process.wait(60)
            async with aiohttp.ClientSession() as session:
                return await _changes(session, process, folder, files, start)
        finally:
            process.stop()


async def _changes(session: aiohttp.ClientSession, process: Process, folder: Path, files: int, start: float) -> Figures:
    url = process.url
    await asyncio.sleep(1)
    write(folder, 2, prefix="changed")
    change = await until(session, url, "changed")
    write(folder, files * 4 + 2, prefix="added")
    add = await until(session, url, "added")
    (folder / f"file-{files * 4 + 2}.json").unlink()
    delete = await until(session, url, "added", wanted=False)
    numbers = range(2, min(files, 4000), 4)
    slowest = 0.0
    started = time.perf_counter()
    for number in numbers:
        write(folder, number, prefix=f"burst{number}")
    while not await offered(session, url, f"burst{numbers[-1]}"):
        before = time.perf_counter()
        await offered(session, url, "changed")
        slowest = max(slowest, time.perf_counter() - before)
        await asyncio.sleep(PAUSE / 4)
    for number in numbers:
        await until(session, url, f"burst{number}")
    burst = time.perf_counter() - started
    return Figures(files, start, process.resident_mb(), change, add, delete, burst, slowest * 1000)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    figures = asyncio.run(measure(parser.parse_args().files))
    for field in Figures.__struct_fields__:
        print(f"{field:20} {getattr(figures, field):10.3f}")


if __name__ == "__main__":
    main()
