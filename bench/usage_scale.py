"""How fast the usage database answers when it is large and being written to.

    python -m bench.usage_scale [--rows 3000000] [--histories 100000] [--seconds 40] [--rate 500] [--file usage.sqlite]

Fills a database with made-up attempts of ninety days, and with histories of the last of them, then records ``rate``
attempts a second while overview, events and requests are asked for in turn, in the same process, as the daemon does:
of what is frequent, of what is rare, and of what never occurs. Prints p50, p99 and the slowest of each in milliseconds,
what was lost, and the size of the file.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from cpa.usage.event import Event
from cpa.usage.filters import EventFilter, RequestFilter
from cpa.usage.history_batches import Batch, insert_batches
from cpa.usage.insert import insert
from cpa.usage.overview import overview
from cpa.usage.queries import events_page
from cpa.usage.requests import list_requests
from cpa.usage.schema import open_database, open_for_reading, transaction
from cpa.usage.store import UsageStore
from cpa.usage.tokens import Tokens

DAYS = 90
DAY_MS = 86_400_000
MODELS = {
    "claude-sonnet-4-5": ("claude", ("anna@example.org", "ben@example.org")),
    "claude-opus-4-1": ("claude", ("anna@example.org",)),
    "claude-haiku-4-5": ("claude", ("anna@example.org", "ben@example.org")),
    "gpt-5": ("codex", ("carol@example.org", "dan@example.org")),
    "gpt-5-codex": ("codex", ("carol@example.org", "dan@example.org")),
    "gemini-2.5-pro": ("gemini", ("gemini:AIza…wxyz",)),
}
RARE_MODEL, RARE_ACCOUNT, RARE_STATUS = "o3-pro", "erna@example.org", 507
RARE = 75_000
"""One attempt of so many is at the rare model and account; another one fails with the rare status."""
PACKED = 4_000
"""Bytes of a made-up history."""
CLIENTS = {"claude-code": "POST /v1/messages", "codex": "POST /v1/responses", "scripts": "POST /v1/chat/completions"}


def made_up(chance: random.Random, number: int, at_ms: int) -> Event:
    """An attempt of a workstation with three tools, six models and five accounts, or a rare one; 3 % fail."""
    model = chance.choice(list(MODELS))
    provider, accounts = MODELS[model]
    if number % RARE == RARE // 2:
        model, provider, accounts = RARE_MODEL, "codex", (RARE_ACCOUNT,)
    client = chance.choice(list(CLIENTS))
    account = chance.choice(accounts)
    read, fresh, output = chance.randrange(50_000), chance.randrange(3_000), chance.randrange(1_500)
    rarely = number % RARE == RARE // 3
    failed = rarely or chance.random() < 0.03
    return Event(
        group=client,
        provider=provider,
        endpoint=CLIENTS[client],
        auth_type="oauth",
        request_id=f"{number:016x}",
        model=model,
        requested_model=model,
        at_ms=at_ms,
        source=account,
        auth_index=f"{sum(account.encode()):016x}",
        failed=failed,
        status=RARE_STATUS if rarely else 429 if failed else 200,
        latency_ms=chance.randrange(200, 30_000),
        ttft_ms=chance.randrange(100, 3_000),
        stream=True,
        tokens=Tokens(
            input=fresh, output=output, cached=read, cache_read=read, total=fresh + read + output, uncached=fresh
        ),
    )


def fill(path: Path, rows: int, histories: int, now_ms: int) -> None:
    """Write ``rows`` attempts, evenly over the last ninety days, and histories of the last of them."""
    chance = random.Random(7)
    connection = open_database(path)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-600000")
    first, step = now_ms - DAYS * DAY_MS, DAYS * DAY_MS / rows
    for start in range(0, rows, 20_000):
        numbers = range(start, min(start + 20_000, rows))
        insert(connection, [made_up(chance, n, int(first + n * step)) for n in numbers], now_ms)
    for start in range(max(rows - histories, 0), rows, 100):
        requests = [(f"{n:016x}", int(first + n * step)) for n in range(start, min(start + 100, rows))]
        packed = os.urandom(PACKED * len(requests))  # which cannot be unpacked, and nobody here does
        with transaction(connection):
            insert_batches(connection, [Batch(requests, False, b"", packed)], 0, requests[0][1])
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def write(store: UsageStore, rate: int, first: int, stop: threading.Event, recorded: list[int]) -> None:
    """Record ``rate`` attempts a second until told to stop; ``recorded`` gets their number."""
    chance, begun, done = random.Random(8), time.monotonic(), 0
    while not stop.wait(0.01):
        while done < (time.monotonic() - begun) * rate:
            store.record(made_up(chance, first + done, int(time.time() * 1000)))
            done += 1
    recorded.append(done)


def questions(now_ms: int) -> dict[str, Callable[[Any], Any]]:
    """What panels ask: a name and the query."""
    week, old = now_ms - 7 * DAY_MS, now_ms - 60 * DAY_MS
    found: dict[str, Callable[[Any], Any]] = {
        "overview, everything": lambda c: overview(c, details=False),
        "overview, 7 days": lambda c: overview(c, week),
    }
    filters: dict[str, dict[str, Any]] = {
        "all": {},
        "frequent model": {"models": ("gpt-5",)},
        "rare model": {"models": (RARE_MODEL,)},
        "unknown model": {"models": ("gpt-2",)},
        "rare account, 7 days": {"start_ms": week, "account": RARE_ACCOUNT},
        "failed of frequent model": {"failed": True, "models": ("gpt-5",)},
        "frequent status": {"status": 200},
        "status of failures": {"status": 429},
        "rare status": {"status": RARE_STATUS},
        "unknown status": {"status": 418},
        "odd status": {"status": 206},
        "rare status, frequent model": {"status": RARE_STATUS, "models": ("gpt-5",)},
        "one request": {"request_id": f"{100_000:016x}"},
    }
    for name, fields in filters.items():
        found |= {
            f"events, {name}": lambda c, f=fields: events_page(c, EventFilter(**f)),
            f"events, {name}, deep": lambda c, f=fields: events_page(c, EventFilter(**f, before=(old, 10**9))),
            f"requests, {name}": lambda c, f=fields: list_requests(c, RequestFilter(**f)),
            f"requests, {name}, deep": lambda c, f=fields: list_requests(c, RequestFilter(**f, before=(old, "f"))),
        }
    return found | {
        "events, page 1000": lambda c: events_page(c, EventFilter(page=1000)),
        "events, page 1000 of a status": lambda c: events_page(c, EventFilter(page=800, status=429)),
        "requests, 1000": lambda c: list_requests(c, RequestFilter(limit=1000)),
        "requests, begin with 000": lambda c: list_requests(c, RequestFilter(request_id="0" * 10)),
    }


def ask(path: Path, seconds: float, now_ms: int) -> dict[str, list[float]]:
    """Ask everything in turn, each on a fresh connection as the daemon does; milliseconds."""
    took: dict[str, list[float]] = {name: [] for name in questions(now_ms)}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, query in questions(now_ms).items():
            begun = time.perf_counter()
            connection = open_for_reading(path)
            try:
                connection.execute("BEGIN")
                query(connection)
            finally:
                connection.close()
            took[name].append((time.perf_counter() - begun) * 1000)
    return took


def main() -> None:
    """Fill, write and ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--histories", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--file", type=Path, help="keep the database here; it is filled only when it is not there yet")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path, now_ms = given.file or Path(folder) / "usage.sqlite", int(time.time() * 1000)
        if not path.exists():
            begun = time.monotonic()
            fill(path, given.rows, given.histories, now_ms)
            print(f"filled with {given.rows:,} rows in {time.monotonic() - begun:.0f} s")
        open_database(path).close()  # which an earlier version may have filled
        measure(path, given.seconds, given.rate, now_ms)


def measure(path: Path, seconds: float, rate: int, now_ms: int) -> None:
    """Write and ask at once, then print the figures."""
    before = count(path)
    store = UsageStore(path, structlog.get_logger(), lambda: 0)
    stop, recorded = threading.Event(), list[int]()
    writer = threading.Thread(target=write, args=(store, rate, now_ms, stop, recorded))
    writer.start()
    took = ask(path, seconds, now_ms)
    stop.set()
    writer.join()
    store.close()
    lost = before + recorded[0] - count(path)
    print(f"recorded {recorded[0]:,} ({recorded[0] / seconds:.0f}/s), lost {lost}, dropped {store.status().dropped}")
    print(f"file {path.stat().st_size / 2**20:,.0f} MiB, {count(path):,} rows")
    for name, each in took.items():
        each.sort()
        p50, p99 = each[len(each) // 2], each[min(len(each) - 1, int(len(each) * 0.99))]
        print(f"{name:46} n={len(each):<5} p50 {p50:8.1f}  p99 {p99:8.1f}  max {each[-1]:8.1f} ms")


def count(path: Path) -> int:
    """Rows in the database."""
    connection = open_for_reading(path)
    try:
        return int(connection.execute("SELECT count(*) FROM usage_events").fetchone()[0])
    finally:
        connection.close()


if __name__ == "__main__":
    main()
