"""What one choice of an account costs, by the number of accounts, the strategy and what else is configured.

    python -m bench.selection_cost [--accounts 1000 10000] [--choices 20000]

A choice is everything between a resolved request and the account for its first attempt. Meanwhile accounts fail,
recover, come to their limit and report quota, so that the order changes all the time.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections import deque
from typing import Any

from msgspec import Struct

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool, Lease
from cpa.accounts.quota import QuotaWindow
from cpa.catalog.catalog import Catalog
from cpa.catalog.model import Model
from cpa.config import Config
from cpa.exchange.call import Call
from cpa.exchange.candidates import Candidates, Router
from cpa.exchange.resolve import resolve_model

STRATEGIES = ("round-robin", "weighted-round-robin", "fill-first", "quota-aware")
VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "affinity": {"session-affinity": True},
    "stickiness": {"conversation-stickiness": "10m"},
    "limits": {"account-concurrency": 4},
    "everything": {"session-affinity": True, "account-concurrency": 4},
}
"""Beside the strategy; with each of them there are priorities, weights and prefixes."""


RUNNING = 100
"""Requests under way at a time."""


class Cost(Struct, frozen=True):
    """Microseconds of CPU time."""

    accounts: int
    strategy: str
    variant: str
    mean: float
    p99: float


def measure(accounts: int, strategy: str, variant: str, choices: int) -> Cost:
    """Choose that often among that many accounts."""
    clock = [1e6]
    chance = random.Random(accounts)
    pool = AccountPool(lambda: clock[0], lambda: clock[0] + 1e9)
    catalog = Catalog(pool.listed)
    config = Config.from_plain({"routing": {"strategy": strategy, **VARIANTS[variant]}})
    pool.concurrency = config.routing.account_concurrency
    router = Router(pool, catalog, None)
    ids = [_add(pool, catalog, number, bool(variant)) for number in range(accounts)]
    calls = [_call(number) for number in range(1000)]
    spent = []
    running: deque[tuple[str, Lease | None]] = deque()
    gc.collect()
    gc.disable()
    for number in range(choices + accounts):
        clock[0] += 0.02
        call = calls[number % 1000]
        resolution = resolve_model(catalog, call.model)
        begin = time.thread_time_ns()
        candidates = Candidates(router, call, resolution, config)
        choice = candidates.next()
        spent.append(time.thread_time_ns() - begin)
        if choice is not None:
            candidates.succeeded(choice[0].id)
            running.append((choice[0].id, pool.lease(choice[0].id, "m")))
        if len(running) > RUNNING:
            _answer(pool, *running.popleft(), chance, quota=strategy == "quota-aware")
        if number % 10 == 0:
            seconds = chance.choice((1.0, 60.0, 600.0, 18000.0))
            pool.fail(chance.choice(ids), "m", scope="model", reason="quota", seconds=seconds, message="429")
    gc.enable()
    steady = sorted(spent[accounts:])
    mean, p99 = sum(steady) / len(steady) / 1000, steady[int(len(steady) * 0.99)] / 1000
    return Cost(accounts, strategy, variant, mean, p99)


def _add(pool: AccountPool, catalog: Catalog, number: int, varied: bool) -> str:
    account = Account(
        id=f"a{number:05}",
        provider="p",
        weight=1 + number % 3 if varied else 1,
        priority=number % 2 if varied else 0,
        prefix="team" if varied and number % 10 == 0 else "",
    )
    models = [Model(id="m")] + ([Model(id="team/m", upstream="m")] if account.prefix else [])
    pool.put(account)
    catalog.register(account.id, "p", models, (account.priority, account.weight))
    return account.id


def _call(number: int) -> Call:
    return Call(format="openai", model="m", body={}, headers={"X-Session-ID": f"session {number}"})


def _answer(pool: AccountPool, account_id: str, lease: Lease | None, chance: random.Random, *, quota: bool) -> None:
    pool.succeed(account_id, "m", pool.clock())
    if lease is not None:
        lease.release()
    if quota and chance.random() < 0.2:
        wall = pool.wall()
        used, resets = chance.random(), wall + 60.0 * chance.randrange(1, 300)
        pool.note_quota(
            account_id,
            [QuotaWindow(name="five_hour", used_ratio=used, resets_at=resets, source="headers", seen_at=wall)],
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, nargs="*", default=[1000, 10_000])
    parser.add_argument("--choices", type=int, default=20_000)
    options = parser.parse_args()
    for accounts in options.accounts:
        for strategy in STRATEGIES:
            for variant in VARIANTS:
                cost = measure(accounts, strategy, variant, options.choices)
                name = f"{strategy} {variant}".strip()
                print(f"{accounts:6} accounts  {name:32} mean {cost.mean:6.2f} us  p99 {cost.p99:7.2f} us", flush=True)


if __name__ == "__main__":
    main()
