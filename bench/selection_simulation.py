"""Many accounts and models, every kind of failure: is the choice fair, and does nobody get stuck?

    python -m bench.selection_simulation [--requests 1000000] [--accounts 200] [--models 20] [--only round-robin]

The code that chooses is the daemon's own; time, upstreams and clients are simulated. A cell is one account with one
model. What is measured:

- least, most: what an account served for the time it was up and not cooling (and by its weight), against the mean;
- closed: cells that were healthy again and still not to be had one probe interval later;
- slowest: seconds from a cell's recovery to its next answer, where the strategy gives everybody turns;
- refused: requests without an answer although a healthy account was to be had.
"""

from __future__ import annotations

import argparse
import random
import time
from heapq import heappop, heappush
from typing import Any

from msgspec import Struct

from cpa.accounts.account import Account
from cpa.accounts.cooldown import PROBE_INTERVAL, Scope
from cpa.accounts.pool import AccountPool, Lease
from cpa.accounts.quota import QuotaWindow
from cpa.catalog.catalog import Catalog
from cpa.catalog.model import Model
from cpa.config import Config
from cpa.exchange.call import Call
from cpa.exchange.candidates import Candidates, Router
from cpa.exchange.resolve import Resolution, resolve_model

PER_SECOND = 50.0
DOWN = 0.1
"""Share of all cells that have an outage at any time."""
WINDOW = 3600.0
"""Seconds of the quota windows of the quota-aware scenarios."""
LATE_FAILURES = 0.01
"""Share of answers that break off after they began."""
SAMPLE_SECONDS = 15.0
START = 1e6


class Failure(Struct, frozen=True):
    """How an upstream's refusal is judged. ``factor`` is the hint over the time it really takes; None gives no hint."""

    scope: Scope
    reason: str
    seconds: float | None = None
    factor: float | None = None


FAILURES = (
    Failure("model", "quota", factor=1.0),
    Failure("model", "quota", factor=8.0),
    Failure("model", "quota"),
    Failure("model", "transient", seconds=60.0),
    Failure("account", "unauthorized", seconds=1800.0),
    Failure("account", "payment_required", seconds=1800.0),
    Failure("account", "network", seconds=5.0),
)


class Scenario(Struct, frozen=True):
    """What is configured."""

    strategy: str
    everything: bool = False
    """Affinity, two priorities, prefixes and a limit on concurrent requests, too."""

    @property
    def name(self) -> str:
        """Its name."""
        return self.strategy + (" with everything" if self.everything else "")

    @property
    def takes_turns(self) -> bool:
        """Whether every usable account gets a turn sooner or later."""
        return not self.everything and self.strategy in ("round-robin", "weighted-round-robin")


SCENARIOS = tuple(
    Scenario(strategy, everything)
    for everything in (False, True)
    for strategy in ("round-robin", "weighted-round-robin", "fill-first", "quota-aware")
)


class Figures(Struct):
    """What was measured."""

    requests: int = 0
    answered: int = 0
    failed_attempts: int = 0
    probes: int = 0
    recoveries: int = 0
    closed: int = 0
    slowest: float = 0.0
    refused: int = 0
    kept: float = 0.0
    """Share of a session's requests that stayed with its account."""
    least: float = 0.0
    most: float = 0.0
    microseconds: float = 0.0
    """Mean cost of a selection within all of this."""


class Simulation:
    """One scenario. ``turn`` is how long a whole rotation over the accounts takes."""

    def __init__(
        self, scenario: Scenario, accounts: int, models: int, *, per_second: float = PER_SECOND, down: float = DOWN
    ) -> None:
        self.scenario = scenario
        self.per_second = per_second
        self.down = down
        self.now = START
        self.chance = random.Random(1)
        self.figures = Figures()
        self.pool = AccountPool(lambda: self.now, lambda: self.now + 1e9)
        self.catalog = Catalog(self.pool.listed)
        self.router = Router(self.pool, self.catalog, None)
        self.turn = accounts * models / per_second
        everything = scenario.everything
        routing: dict[str, Any] = {"strategy": scenario.strategy, "session-affinity": everything}
        self.config = Config.from_plain({"routing": routing})
        self.pool.concurrency = 16 if everything else 0
        self.models = [f"m{number}" for number in range(models)]
        self.accounts = [self._account(number) for number in range(accounts)]
        self._down: dict[tuple[str, str], tuple[float, Failure]] = {}
        self._waiting: dict[tuple[str, str], float] = {}
        self._events: list[tuple[float, int, Any]] = []
        self._count = 0
        self._served = dict.fromkeys((account.id for account in self.accounts), 0)
        self._open = dict.fromkeys(self._served, 0)
        """How often cells of the account were up and not cooling, by samples."""
        self._used = dict.fromkeys(self._served, 0)
        self._allowance = int(1.6 * WINDOW * per_second / accounts)
        self._sessions: dict[str, str] = {}
        self._spent = 0.0

    def _account(self, number: int) -> Account:
        everything, weighted = self.scenario.everything, self.scenario.strategy == "weighted-round-robin"
        account = Account(
            id=f"a{number:05}",
            provider="p",
            weight=1 + number % 4 if weighted else 1,
            priority=number % 2 if everything else 0,
            prefix="team" if everything and number % 10 == 0 else "",
        )
        models = [Model(id=name) for name in self.models]
        if account.prefix:
            models += [Model(id=f"team/{name}", upstream=name) for name in self.models]
        self.pool.put(account)
        self.catalog.register(account.id, "p", models, (account.priority, account.weight))
        return account

    # -- what happens beside the requests -----------------------------------------------------------------------

    def _later(self, seconds: float, event: Any) -> None:
        self._count += 1
        heappush(self._events, (self.now + seconds, self._count, event))

    def _advance(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heappop(self._events)
            event()
        self.now = until

    def _break(self) -> None:
        """An outage of a cell, or of an account, begins."""
        account, failure = self.chance.choice(self.accounts), self.chance.choice(FAILURES)
        place = (account.id, "" if failure.scope == "account" else self.chance.choice(self.models))
        seconds = self.chance.expovariate(1 / 600.0)
        if place not in self._down:
            self._down[place] = (self.now + seconds, failure)
            for cell in self._cells(*place):
                self._waiting.pop(cell, None)
            self._later(seconds, lambda: self._mend(place))
        cells_each_second = self.down * len(self.accounts) * len(self.models) / 600.0
        per_outage = (4 + 3 * len(self.models)) / 7
        self._later(self.chance.expovariate(cells_each_second / per_outage), self._break)

    def _cells(self, account_id: str, model: str) -> list[tuple[str, str]]:
        return [(account_id, name) for name in ([model] if model else self.models)]

    def _found_down(self, account_id: str, model: str) -> tuple[float, Failure] | None:
        """Until when, and how an attempt fails; None for a healthy cell."""
        return self._down.get((account_id, "")) or self._down.get((account_id, model)) or self._exhausted(account_id)

    def _mend(self, place: tuple[str, str]) -> None:
        del self._down[place]
        for cell in self._cells(*place):
            if self._found_down(*cell) is None and self.pool.health(cell[0]).cooling(cell[1], self.now) is not None:
                self.figures.recoveries += 1
                self._waiting[cell] = self.now
                self._later(PROBE_INTERVAL + 0.001, lambda cell=cell, since=self.now: self._check(cell, since))

    def _check(self, cell: tuple[str, str], since: float) -> None:
        """A probe interval after its recovery a cell has been used, or can be."""
        unused = self._waiting.get(cell) == since and self._found_down(*cell) is None
        if unused and self.pool.free_at(cell[0], (cell[1],), self.now) > 0.0 and not self._is_full(cell[0]):
            self.figures.closed += 1

    def _sample(self) -> None:
        for account in self.accounts:
            health = self.pool.health(account.id)
            for model in self.models:
                if self._found_down(account.id, model) is None and health.cooling(model, self.now) is None:
                    self._open[account.id] += 1
        self._later(SAMPLE_SECONDS, self._sample)

    def _is_full(self, account_id: str) -> bool:
        return 0 < self.pool.concurrency <= self.pool.running(account_id)

    # -- requests ---------------------------------------------------------------------------------------------------

    def run(self, requests: int) -> Figures:
        """Let that many requests come; what was measured."""
        self._later(0.0, self._break)
        self._later(SAMPLE_SECONDS, self._sample)
        if self.scenario.strategy == "quota-aware":
            self._later(0.0, self._renew_windows)
        for _ in range(requests):
            self._advance(self.now + self.chance.expovariate(self.per_second))
            self._request()
        return self._summary(requests)

    def _request(self) -> None:
        name = self.chance.choice(self.models)
        if self.scenario.everything and self.chance.random() < 0.05:
            name = f"team/{name}"
        session = f"s{self.chance.randrange(2000)}" if self.scenario.everything else ""
        headers = {"X-Session-ID": session} if session else {}
        call = Call(format="openai", model=name, body={}, headers=headers)
        resolution = resolve_model(self.catalog, name)
        begin = time.perf_counter()
        candidates = Candidates(self.router, call, resolution, self.config)
        choice = candidates.next()
        self._spent += time.perf_counter() - begin
        while choice is not None:
            account, offer = choice
            if self._attempt(account, offer.models[0].upstream or offer.models[0].id, candidates, session + name):
                return
            choice = candidates.next()
        self._unanswered(resolution)

    def _attempt(self, account: Account, model: str, candidates: Candidates, session: str) -> bool:
        cell = (account.id, model)
        if self.pool.health(account.id).cooling(model, self.now) is not None:
            self.figures.probes += 1
        lease = self.pool.lease(account.id, model)
        found = self._found_down(*cell)
        if found is not None:
            self._refuse(account.id, model, *found)
            candidates.failed(account.id)
            if lease is not None:
                lease.release()
            return False
        candidates.succeeded(account.id)
        if lease is not None:
            lease.answering()
        self._serve(cell, lease, session)
        return True

    def _refuse(self, account_id: str, model: str, until: float, failure: Failure) -> None:
        self.figures.failed_attempts += 1
        seconds = failure.seconds
        if failure.factor is not None:
            seconds = max(0.001, (until - self.now) * failure.factor)
        self.pool.fail(
            account_id,
            model,
            scope=failure.scope,
            reason=failure.reason,
            seconds=seconds,
            message=failure.reason,
            began=self.now,
        )

    def _serve(self, cell: tuple[str, str], lease: Lease | None, session: str) -> None:
        figures, (account_id, model), began = self.figures, cell, self.now
        figures.answered += 1
        self._served[account_id] += 1
        self._used[account_id] += 1
        if (since := self._waiting.pop(cell, None)) is not None:
            figures.slowest = max(figures.slowest, self.now - since)
        if self.scenario.everything:
            figures.kept += self._sessions.get(session) == account_id
            self._sessions[session] = account_id

        def end() -> None:
            if self.chance.random() < LATE_FAILURES:
                self.pool.fail(
                    account_id, model, scope="model", reason="transient", seconds=60.0, message="cut", began=began
                )
            else:
                self.pool.succeed(account_id, model, began)
            if lease is not None:
                lease.release()

        self._later(self.chance.expovariate(0.5), end)
        if self.scenario.strategy == "quota-aware":
            self._tell_window(account_id)

    def _unanswered(self, resolution: Resolution) -> None:
        for account_id, offer in resolution.offers.items():
            model = offer.models[0].upstream or offer.models[0].id
            healthy = self._found_down(account_id, model) is None
            if healthy and self.pool.free_at(account_id, (model,), self.now) == 0.0:
                self.figures.refused += 1
                return

    # -- quota windows ------------------------------------------------------------------------------------------------

    def _resets_at(self, account_id: str) -> float:
        """Windows of different accounts end at different times."""
        offset = int(account_id[1:]) * WINDOW / len(self.accounts)
        return ((self.now - offset) // WINDOW + 1) * WINDOW + offset

    def _exhausted(self, account_id: str) -> tuple[float, Failure] | None:
        if self.scenario.strategy != "quota-aware" or self._used[account_id] < self._allowance:
            return None
        return self._resets_at(account_id), Failure("account", "quota", factor=1.0)

    def _renew_windows(self) -> None:
        for account in self.accounts:
            self._renew_window(account.id)

    def _renew_window(self, account_id: str) -> None:
        self._used[account_id] = 0
        self._later(self._resets_at(account_id) - self.now, lambda: self._renew_window(account_id))

    def _tell_window(self, account_id: str) -> None:
        """What the headers of an answer tell."""
        wall = self.pool.wall()
        used = min(1.0, self._used[account_id] / self._allowance)
        resets = wall + self._resets_at(account_id) - self.now
        window = QuotaWindow(name="hour", used_ratio=used, resets_at=resets, source="headers", seen_at=wall)
        self.pool.note_quota(account_id, [window])

    # -- the end ------------------------------------------------------------------------------------------------------

    def _summary(self, requests: int) -> Figures:
        figures = self.figures
        figures.requests = requests
        best = max(account.priority for account in self.accounts)
        rates = [
            self._served[account.id] / account.weight / max(self._open[account.id], 1)
            for account in self.accounts
            if account.priority == best
        ]
        mean = sum(rates) / len(rates)
        figures.least, figures.most = (min(rates) / mean, max(rates) / mean) if mean else (0.0, 0.0)
        figures.kept /= max(figures.answered, 1)
        figures.microseconds = self._spent / requests * 1e6
        overdue = [since for since in self._waiting.values() if self.now - since > PROBE_INTERVAL + 2 * self.turn]
        if self.scenario.takes_turns and overdue:
            figures.slowest = max(figures.slowest, self.now - min(overdue))
        return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--accounts", type=int, default=200)
    parser.add_argument("--models", type=int, default=20)
    parser.add_argument("--only", default="", help="scenarios whose name begins so")
    options = parser.parse_args()
    for scenario in SCENARIOS:
        if scenario.name.startswith(options.only):
            figures = Simulation(scenario, options.accounts, options.models).run(options.requests)
            told = ", ".join(f"{name} {getattr(figures, name):.6g}" for name in Figures.__struct_fields__)
            print(f"{scenario.name}: {told}", flush=True)


if __name__ == "__main__":
    main()
