"""Which account serves the next attempt.

The cost of a choice does not grow with the number of accounts: candidates of a model name are kept sorted, a
cursor walks over them and stops at the first usable one.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, field

from cpa.accounts.account import Account

STRATEGIES = {
    "round-robin": "round-robin",
    "roundrobin": "round-robin",
    "rr": "round-robin",
    "fill-first": "fill-first",
    "fillfirst": "fill-first",
    "ff": "fill-first",
    "weighted-round-robin": "weighted-round-robin",
}
"""Accepted spellings of ``routing.strategy``."""


class Rotation(Struct):
    """The candidates of one model name: ids by priority, highest first, each class in a stable order."""

    classes: list[list[str]]
    source: object
    """Identity of what it was built from; a different one means it is out of date."""
    cursors: list[int] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    credit: dict[str, int] = field(default_factory=dict)


def build_rotation(accounts: Iterable[Account], source: object) -> Rotation:
    """Sort candidates: by priority, then provider (the one with more accounts first), then id."""
    by_priority: dict[int, list[Account]] = {}
    per_provider: dict[str, int] = {}
    for account in accounts:
        by_priority.setdefault(account.priority, []).append(account)
        per_provider[account.provider] = per_provider.get(account.provider, 0) + 1
    classes = [
        [
            account.id
            for account in sorted(by_priority[priority], key=lambda a: (-per_provider[a.provider], a.provider, a.id))
        ]
        for priority in sorted(by_priority, reverse=True)
    ]
    weights = {
        account.id: max(0, min(account.weight, 1_000_000)) for group in by_priority.values() for account in group
    }
    return Rotation(classes, source, [0] * len(classes), weights)


class Selector:
    """Chooses accounts by a strategy; keeps one rotation per model name."""

    LIMIT = 4096

    def __init__(self) -> None:
        self._rotations: OrderedDict[str, Rotation] = OrderedDict()

    def rotation(self, name: str, source: object, accounts: Callable[[], Sequence[Account]]) -> Rotation:
        """The rotation of a model name, rebuilt (cursors kept where possible) when ``source`` changed."""
        known = self._rotations.get(name)
        if known is not None and known.source is source:
            return known
        fresh = build_rotation(accounts(), source)
        if known is not None:
            for index, _ in enumerate(fresh.cursors):
                if index < len(known.cursors):
                    fresh.cursors[index] = known.cursors[index]
        self._rotations[name] = fresh
        if len(self._rotations) > self.LIMIT:
            self._rotations.popitem(last=False)
        return fresh

    def choose(self, rotation: Rotation, strategy: str, usable: Callable[[str], bool]) -> str | None:
        """The next usable account id of the best priority class that has one; None when no class has."""
        for index, ids in enumerate(rotation.classes):
            match strategy:
                case "fill-first":
                    chosen = next((candidate for candidate in ids if usable(candidate)), None)
                case "weighted-round-robin":
                    chosen = self._weighted(rotation, ids, usable)
                case _:
                    chosen = self._next(rotation, index, ids, usable)
            if chosen is not None:
                return chosen
        return None

    @staticmethod
    def _next(rotation: Rotation, index: int, ids: list[str], usable: Callable[[str], bool]) -> str | None:
        start = rotation.cursors[index]
        for offset in range(len(ids)):
            position = (start + offset) % len(ids)
            if usable(ids[position]):
                rotation.cursors[index] = (position + 1) % len(ids)
                return ids[position]
        return None

    @staticmethod
    def _weighted(rotation: Rotation, ids: list[str], usable: Callable[[str], bool]) -> str | None:
        """Smooth weighted rotation: every candidate earns its weight, the richest pays the total."""
        candidates = [candidate for candidate in ids if rotation.weights.get(candidate, 1) and usable(candidate)]
        if not candidates:
            return None
        total = 0
        for candidate in candidates:
            weight = rotation.weights.get(candidate, 1)
            total += weight
            rotation.credit[candidate] = rotation.credit.get(candidate, 0) + weight
        chosen = max(candidates, key=lambda candidate: rotation.credit[candidate])
        rotation.credit[chosen] -= total
        return chosen


class Affinity:
    """Which account a session used last: a preference, never a pin. ``clock`` gives monotonic seconds."""

    LIMIT = 100_000

    def __init__(self, clock: Callable[[], float]) -> None:
        self._bound: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._clock = clock

    def get(self, session: str, model: str) -> str | None:
        """The account bound to the session for the model, if the binding has not expired."""
        found = self._bound.get((session, model))
        if found is None:
            return None
        account_id, expires = found
        if expires <= self._clock():
            del self._bound[session, model]
            return None
        return account_id

    def bind(self, session: str, model: str, account_id: str, ttl: float) -> None:
        """Remember that the session uses the account, for ``ttl`` seconds from now."""
        self._bound[session, model] = (account_id, self._clock() + ttl)
        self._bound.move_to_end((session, model))
        if len(self._bound) > self.LIMIT:
            self._bound.popitem(last=False)

    def release(self, session: str, model: str, account_id: str) -> None:
        """Forget the binding if it still names ``account_id`` (another request may have moved it on)."""
        if (found := self._bound.get((session, model))) is not None and found[0] == account_id:
            del self._bound[session, model]

    def clear(self) -> None:
        """Forget every binding."""
        self._bound.clear()
