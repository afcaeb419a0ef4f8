"""The accounts an exchange may try, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cpa.accounts.account import Account
from cpa.accounts.cooldown import Cooldown
from cpa.accounts.pool import AccountPool
from cpa.accounts.selection import STRATEGIES, Affinity, Selector
from cpa.accounts.session import session_ids
from cpa.catalog.catalog import Catalog, Offer
from cpa.catalog.model import Model
from cpa.config import Config
from cpa.exchange.call import Call
from cpa.exchange.resolve import Resolution


class Router:
    """Owns what choosing remembers between exchanges: cursors, session bindings, alias-pool counters."""

    def __init__(self, pool: AccountPool, catalog: Catalog, choose: Callable[..., Account | None] | None) -> None:
        self.pool = pool
        self.catalog = catalog
        self.selector = Selector()
        self.affinity = Affinity(pool.clock)
        self.choose_hook = choose
        self._pool_turns: dict[tuple[str, str], int] = {}

    def models_in_turn(self, offer: Offer, name: str) -> list[Model]:
        """The models of an alias pool, beginning with the next one in turn; cooling ones are left out."""
        models = list(offer.models)
        if len(models) == 1:
            return models
        key = (offer.account_id, name)
        turn = self._pool_turns.get(key, 0)
        self._pool_turns[key] = turn + 1
        start = turn % len(models)
        return [
            model
            for model in models[start:] + models[:start]
            if self.pool.blocked(offer.account_id, model.upstream or model.id) is None
        ]


class Candidates:
    """The choice of accounts for one exchange."""

    def __init__(self, router: Router, call: Call, resolution: Resolution, config: Config) -> None:
        self._router = router
        self._call = call
        self._resolution = resolution
        self._strategy = STRATEGIES.get(config.routing.strategy, "round-robin")
        self._ttl = config.routing.session_affinity_ttl
        self._sessions = session_ids(call.headers, call.body) if config.routing.session_affinity else ()
        self._tried: set[str] = set()

    def begin_round(self) -> None:
        """All accounts may be tried again."""
        self._tried.clear()

    def next(self) -> tuple[Account, Offer] | None:
        """The account for the next attempt and what it offers; None when none is left."""
        account_id = self._preferred() or self._chosen()
        if account_id is None:
            return None
        self._tried.add(account_id)
        account = self._router.pool.get(account_id)
        if account is None:
            return self.next()
        return account, self._resolution.offers[account_id]

    def succeeded(self, account_id: str) -> None:
        """Bind the session to the account that served it."""
        for session in self._sessions:
            self._router.affinity.bind(session, self._resolution.name, account_id, self._ttl)

    def failed(self, account_id: str) -> None:
        """The session need not come back to this account."""
        for session in self._sessions:
            self._router.affinity.release(session, self._resolution.name, account_id)

    def usable(self, account_id: str) -> bool:
        """Whether an account can be tried (again) in this round."""
        offer = self._resolution.offers.get(account_id)
        if offer is None or account_id in self._tried:
            return False
        pool = self._router.pool
        return any(pool.usable(account_id, model.upstream or model.id) for model in offer.models)

    def cooldowns(self) -> list[Cooldown]:
        """The cooldowns of the candidates; shorter than the list of offers when some have none."""
        pool = self._router.pool
        found = []
        for account_id, offer in self._resolution.offers.items():
            blocks = [pool.blocked(account_id, model.upstream or model.id) for model in offer.models]
            present = [block for block in blocks if block is not None]
            if present and len(present) == len(blocks):
                found.append(min(present, key=lambda block: block.until))
        return found

    def _preferred(self) -> str | None:
        for session in self._sessions:
            bound = self._router.affinity.get(session, self._resolution.name)
            if bound is not None and self.usable(bound):
                return bound
        return None

    def _chosen(self) -> str | None:
        router, resolution = self._router, self._resolution
        if router.choose_hook is not None:
            usable = [account for account in self._accounts() if self.usable(account.id)]
            chosen: Any = router.choose_hook(model=resolution.name, candidates=usable) if usable else None
            if chosen is not None:
                return str(chosen.id)
        rotation = router.selector.rotation(resolution.name, router.catalog.version(resolution.name), self._accounts)
        return router.selector.choose(rotation, self._strategy, self.usable)

    def _accounts(self) -> list[Account]:
        found = (self._router.pool.get(account_id) for account_id in self._resolution.offers)
        return [account for account in found if account is not None]
