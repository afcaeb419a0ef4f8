"""The accounts an exchange may try, one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from cpa.accounts.account import Account
from cpa.accounts.affinity import Affinity
from cpa.accounts.cooldown import Cooldown
from cpa.accounts.pool import AccountPool
from cpa.accounts.selection import Candidate, Rotation, Selector
from cpa.accounts.session import session_ids
from cpa.catalog.catalog import Catalog, Offer
from cpa.catalog.model import Model
from cpa.config import Config
from cpa.durations import seconds_of
from cpa.exchange.call import Call
from cpa.exchange.resolve import Resolution

LONGEST_BUSY_WAIT = 30.0
"""Seconds a request waits, all together, for accounts that are at their limit or are being probed."""
LAST_RESORT = ("network",)
"""Reasons to prefer another account, but not to refuse a request when there is no other."""


class Router:
    """Owns what choosing remembers between exchanges: rotations, session bindings, alias-pool counters."""

    def __init__(self, pool: AccountPool, catalog: Catalog, choose: Callable[..., Account | None] | None) -> None:
        self.pool = pool
        self.catalog = catalog
        self.selector = Selector(pool)
        self.affinity = Affinity(pool.clock)
        self.choose_hook = choose
        self._pool_turns: dict[tuple[str, str], int] = {}

    def rotation(self, resolution: Resolution, strategy: str) -> Rotation:
        """The rotation over the accounts that offer a model name."""
        name = resolution.name
        return self.selector.rotation(
            name, self.catalog.version(name), strategy, lambda: self._candidates(resolution.offers.values())
        )

    def _candidates(self, offers: Any) -> Iterator[Candidate]:
        for offer in offers:
            account = self.pool.get(offer.account_id)
            if account is not None:
                yield Candidate(account, upstream_names(offer))

    def models_in_turn(self, offer: Offer, name: str) -> list[Model]:
        """The models of an alias pool, beginning with the next one in turn; stand-ins last, cooling ones left out."""
        if len(offer.models) == 1:
            return list(offer.models)
        models = [model for model in offer.models if not model.stand_in]
        stand_ins = [model for model in offer.models if model.stand_in]
        key = (offer.account_id, name)
        turn = self._pool_turns.get(key, 0)
        self._pool_turns[key] = turn + 1
        start = turn % len(models) if models else 0
        return [
            model
            for model in models[start:] + models[:start] + stand_ins
            if self.pool.blocked(offer.account_id, model.upstream or model.id) is None
        ]


def upstream_names(offer: Offer) -> tuple[str, ...]:
    """The upstream's names of what is offered."""
    return tuple(model.upstream or model.id for model in offer.models)


class Candidates:
    """The choice of accounts for one exchange."""

    def __init__(self, router: Router, call: Call, resolution: Resolution, config: Config) -> None:
        self._router = router
        self._call = call
        self._resolution = resolution
        routing = config.routing
        self._strategy = routing.strategy
        self._affine = routing.session_affinity
        kept = routing.session_affinity_ttl if self._affine else routing.conversation_stickiness
        self._ttl = seconds_of(kept) or 0.0
        wanted = self._affine or self._ttl > 0
        self._sessions = session_ids(call.headers, call.body) if wanted else ()
        self._limit = config.max_retry_credentials
        self.offers = resolution.offers
        """By account id; of an account that was asked for only its own."""
        if call.account_id:
            self.offers = {name: offer for name, offer in resolution.offers.items() if name == call.account_id}
        self._tried: set[str] = set()
        self._switch_project = config.quota_exceeded.switch_project
        self._waited = 0.0
        self._may_probe = True
        """One request probes one account that cools down, not all of them."""

    def begin_round(self) -> None:
        """All accounts may be tried again."""
        self._tried.clear()

    def next(self) -> tuple[Account, Offer] | None:
        """The account for the next attempt and what it offers; None when none is left."""
        if self._limit and len(self._tried) >= self._limit:
            return None
        while True:
            account_id = (self._sessions and self._preferred()) or self._chosen() or self._last_resort()
            if not account_id:
                return None
            self._tried.add(account_id)
            account = self._router.pool.get(account_id)
            if account is not None:
                offer = self.offers[account_id]
                self._may_probe = self._may_probe and not self._cools(offer)
                return account, offer

    def succeeded(self, account_id: str) -> None:
        """Bind the session to the account that served it."""
        for session in self._sessions:
            self._router.affinity.bind(session, self._resolution.name, account_id, self._ttl)

    def failed(self, account_id: str) -> None:
        """The session need not come back to this account, nor this request to other projects of its login.

        Those may be tried with ``quota-exceeded.switch-project``.
        """
        if not self._switch_project:
            others = self._siblings(account_id) - self._tried
            self._tried |= others
            if self._limit:
                self._limit += len(others)
        for session in self._sessions:
            self._router.affinity.release(session, self._resolution.name, account_id)

    def _siblings(self, account_id: str) -> set[str]:
        """The accounts of the same login's projects."""
        account = self._router.pool.get(account_id)
        parent = self._router.pool.get(str(account.settings.get("parent"))) if account is not None else None
        return set(parent.settings.get("children", ())) if parent is not None else set()

    def _cools(self, offer: Offer) -> bool:
        """Whether an account that may be tried still cools down."""
        pool = self._router.pool
        return pool.free_at(offer.account_id, upstream_names(offer), pool.clock()) < 0.0

    def usable(self, account_id: str) -> bool:
        """Whether an account can be tried (again) in this round, without being a probe unless it was asked for."""
        offer = self.offers.get(account_id)
        if offer is None or account_id in self._tried:
            return False
        pool = self._router.pool
        free_at = pool.free_at(account_id, upstream_names(offer), pool.clock())
        return free_at == 0.0 or (free_at < 0.0 and account_id == self._call.account_id)

    def cooldowns(self) -> list[Cooldown]:
        """The cooldowns of the candidates; shorter than the list of offers when some have none."""
        pool = self._router.pool
        found = []
        for account_id, offer in self.offers.items():
            blocks = [pool.blocked(account_id, model) for model in upstream_names(offer)]
            present = [block for block in blocks if block is not None]
            if present and len(present) == len(blocks):
                found.append(min(present, key=lambda block: block.until))
        return found

    async def wait_for_busy(self) -> bool:
        """Wait while an account that was not tried is at its limit or is being probed; whether to look again."""
        until = self._busy_until()
        pool = self._router.pool
        now = pool.clock()
        left = LONGEST_BUSY_WAIT - self._waited
        if until is None or left <= 0:
            return False
        await pool.wait_for_change(min(left, max(0.0, until - now)))
        self._waited += max(pool.clock() - now, 0.001)
        return True

    def is_full(self) -> bool:
        """Whether an account would serve the request if it were not at its limit of requests."""
        return self._busy_until() == math.inf

    def _busy_until(self) -> float | None:
        """When the first busy account can be used, as far as that is known; None without one."""
        if self._limit and len(self._tried) >= self._limit:
            return None
        pool = self._router.pool
        soonest: float | None = None
        for account_id, offer in self.offers.items():
            account = pool.get(account_id)
            if account_id in self._tried or account is None or account.disabled:
                continue
            blocks = [pool.blocked(account_id, model) for model in upstream_names(offer)]
            if any(block is None for block in blocks):
                return math.inf
            for block in blocks:
                if block is not None and block.reason == "probing":
                    soonest = block.until if soonest is None else min(soonest, block.until)
        return soonest

    def _preferred(self) -> str | None:
        for session in self._sessions:
            bound = self._router.affinity.get(session, self._resolution.name)
            if bound is not None and self.usable(bound) and (self._affine or self._rotation().is_best(bound)):
                return bound
        return None

    def _chosen(self) -> str | None:
        router = self._router
        if self._call.account_id:
            return self._call.account_id if self.usable(self._call.account_id) else None
        if router.choose_hook is not None:
            usable = [account for account in self._accounts() if self.usable(account.id)]
            chosen: Any = router.choose_hook(model=self._resolution.name, candidates=usable) if usable else None
            if any(chosen is account for account in usable):
                return str(chosen.id)
        return self._rotation().choose(self._tried, probe=self._may_probe)

    def _rotation(self) -> Rotation:
        return self._router.rotation(self._resolution, self._strategy)

    def _last_resort(self) -> str | None:
        """An account that could not be reached a moment ago, when nothing else was there to be tried."""
        if self._tried or self._busy_until() is not None:
            return None
        pool = self._router.pool
        found: tuple[float, str] | None = None
        for account_id, offer in self.offers.items():
            account = pool.get(account_id)
            if account is None or account.disabled:
                continue
            for block in (pool.blocked(account_id, model) for model in upstream_names(offer)):
                if block is not None and block.reason in LAST_RESORT and (found is None or block.until < found[0]):
                    found = (block.until, account_id)
        return found[1] if found is not None else None

    def _accounts(self) -> list[Account]:
        found = (self._router.pool.get(account_id) for account_id in self.offers)
        return [account for account in found if account is not None]
