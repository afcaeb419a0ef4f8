"""Which account serves the next attempt: one rotation per model name, by priority and strategy."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable

from msgspec import Struct

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.accounts.ring import ROUND_ROBIN, WEIGHTED, Ring

LARGEST_WEIGHT = 1_000_000


class Candidate(Struct, frozen=True):
    """An account that offers a model name, and the upstream models behind it."""

    account: Account
    models: tuple[str, ...]


class Rotation:
    """The candidates of one model name, by priority. ``source`` is the identity of what it was built from."""

    def __init__(self, source: object, strategy: str, rings: list[Ring], pool: AccountPool) -> None:
        self.source = source
        self.strategy = strategy
        self.rings = rings
        self._pool = pool
        self._seen = pool.changed

    def choose(self, tried: Collection[str] = (), *, probe: bool = True) -> str | None:
        """The next usable account id of the best priority that has one; None when nobody is left.

        With ``probe`` it may be one that still cools down, whose turn it is to be probed.
        """
        pool = self._pool
        if pool.changed != self._seen:
            self._catch_up()
        now = pool.clock()
        for ring in self.rings:
            chosen = ring.choose(pool, now, tried, probe=probe)
            if chosen is not None:
                return chosen
        return None

    def peek(self) -> str | None:
        """Whom ``choose`` would give, without anybody's turn being over."""
        if self._pool.changed != self._seen:
            self._catch_up()
        now = self._pool.clock()
        return next((found for ring in self.rings if (found := ring.peek(self._pool, now)) is not None), None)

    def is_best(self, account_id: str) -> bool:
        """Whether nobody of a better priority could be used instead."""
        if self._pool.changed != self._seen:
            self._catch_up()
        now = self._pool.clock()
        for ring in self.rings:
            if account_id in ring:
                return True
            if ring.peek(self._pool, now) is not None:
                return False
        return False

    def _catch_up(self) -> None:
        pool = self._pool
        changes = pool.changes_since(self._seen)
        self._seen = pool.changed
        for ring in self.rings:
            for account_id in ring.ids if changes is None else changes:
                ring.better(account_id, pool)


def build_rotation(
    candidates: Iterable[Candidate], source: object, strategy: str, pool: AccountPool, known: Rotation | None = None
) -> Rotation:
    """Sort candidates: by priority, then provider (the one with more accounts first), then id.

    Turns go on where they were in ``known``, by account and not by place.
    """
    by_priority: dict[int, list[Candidate]] = {}
    per_provider: dict[str, int] = {}
    for candidate in candidates:
        account = candidate.account
        by_priority.setdefault(account.priority, []).append(candidate)
        per_provider[account.provider] = per_provider.get(account.provider, 0) + 1

    def place(candidate: Candidate) -> tuple[int, str, str]:
        account = candidate.account
        return -per_provider[account.provider], account.provider, account.id

    before = known if known is not None and known.strategy == strategy else None
    rings = []
    for priority in sorted(by_priority, reverse=True):
        group = sorted(by_priority[priority], key=place)
        ring, firsts = _ring(group, strategy)
        if before is not None:
            firsts |= {account_id: key for old in before.rings for account_id, key in old.keys().items()}
            ring.cursor = _continued(ring, before)
        ring.fill(pool, firsts)
        rings.append(ring)
    return Rotation(source, strategy, rings, pool)


def _ring(group: list[Candidate], strategy: str) -> tuple[Ring, dict[str, float]]:
    ids = [candidate.account.id for candidate in group]
    models = [candidate.models for candidate in group]
    if strategy == WEIGHTED:
        return Ring(WEIGHTED, ids, models, [_share(candidate.account) for candidate in group]), {}
    families: dict[str, list[str]] = {}
    for candidate in group:
        families.setdefault(candidate.account.settings.get("parent") or "", []).append(candidate.account.id)
    if strategy == ROUND_ROBIN and len(families) > 1 and "" not in families:
        return _by_families(ids, models, families)
    return Ring(strategy, ids, models, [0.0] * len(ids)), {}


def _by_families(
    ids: list[str], models: list[tuple[str, ...]], families: dict[str, list[str]]
) -> tuple[Ring, dict[str, float]]:
    """Projects of several logins: the logins take turns, whatever the number of their projects."""
    size = {account_id: float(len(family)) for family in families.values() for account_id in family}
    firsts = {account_id: float(turn) for family in families.values() for turn, account_id in enumerate(family)}
    return Ring(WEIGHTED, ids, models, [size[account_id] for account_id in ids]), firsts


def _share(account: Account) -> float:
    return 1.0 / min(account.weight, LARGEST_WEIGHT) if account.weight > 0 else math.inf


def _continued(ring: Ring, before: Rotation) -> int:
    """The position after which the turns of an earlier rotation go on."""
    positions = {account_id: position for position, account_id in enumerate(ring.ids)}
    for old in before.rings:
        for place in range(old.cursor, -1, -1):
            position = positions.get(old.ids[place])
            if position is not None:
                return position
    return -1


class Selector:
    """Keeps one rotation per model name."""

    LIMIT = 1000

    def __init__(self, pool: AccountPool) -> None:
        self._pool = pool
        self._rotations: OrderedDict[str, Rotation] = OrderedDict()

    def rotation(
        self, name: str, source: object, strategy: str, candidates: Callable[[], Iterable[Candidate]]
    ) -> Rotation:
        """The rotation of a model name, built anew when ``source`` or the strategy changed."""
        known = self._rotations.get(name)
        if known is not None and known.source is source and known.strategy == strategy:
            return known
        fresh = build_rotation(candidates(), source, strategy, self._pool, known)
        self._rotations[name] = fresh
        if len(self._rotations) > self.LIMIT:
            self._rotations.popitem(last=False)
        return fresh
