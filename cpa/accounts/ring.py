"""The candidates of one model name and priority, in the order of a strategy.

A choice costs the same however many candidates there are, usable or not: who may be usable stands in order; who is
found blocked is parked until its time comes or the pool tells that it is better off.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Mapping
from heapq import heappop, heappush
from typing import TypeAlias

from cpa.accounts.pool import AccountPool

Place: TypeAlias = tuple[float, int]
"""Where a candidate stands: by its key (lower is earlier), then by its position in the stable order."""

ROUND_ROBIN, FILL_FIRST, WEIGHTED, QUOTA_AWARE = "round-robin", "fill-first", "weighted-round-robin", "quota-aware"
WOKEN_AT_ONCE = 32
"""However many come back at the same moment, no single choice pays for all of them."""
RANK_SLACK = 1.0
"""Seconds by which the moment when a rank ends may waver, as the two clocks do, without being noted again."""
ASIDE_SECONDS = 1.0
"""How long a candidate to be probed stands aside for a request that has probed another one."""
_LAST = 1 << 62


class Ring:
    """The candidates of one priority: those that may be usable in order, the others parked."""

    def __init__(self, strategy: str, ids: list[str], models: list[tuple[str, ...]], shares: list[float]) -> None:
        self.strategy = strategy
        self.ids = ids
        self._models = models
        self._shares = shares
        """What a choice adds to the key of the chosen, by position; infinite excludes."""
        self._positions = {account_id: position for position, account_id in enumerate(ids)}
        self._keys: list[float] = [0.0] * len(ids)
        self._ready: list[Place] = []
        self._parked: set[int] = set()
        self._returns: list[tuple[float, int]] = []
        """A heap of when parked candidates return, or ready ones must be placed anew."""
        self._due: dict[int, float] = {}
        """The earliest time in the heap by position."""
        self.cursor = -1
        """Position of the last choice."""

    def fill(self, pool: AccountPool, firsts: Mapping[str, float]) -> None:
        """Put everybody in order; ``firsts`` are the keys that the weighted strategy begins with, where not equal."""
        if self.strategy == WEIGHTED:
            floor = min((firsts[account_id] for account_id in self.ids if account_id in firsts), default=0.0)
            self._keys = [firsts.get(account_id, floor) for account_id in self.ids]
        elif self.strategy == QUOTA_AWARE:
            for position, account_id in enumerate(self.ids):
                self._keys[position], until = pool.rank(account_id)
                self._return(position, until, RANK_SLACK)
        included = (position for position in range(len(self.ids)) if self._shares[position] < math.inf)
        self._ready = sorted((self._keys[position], position) for position in included)

    def keys(self) -> dict[str, float]:
        """The candidates' keys by account id."""
        return dict(zip(self.ids, self._keys, strict=True))

    def __contains__(self, account_id: str) -> bool:
        return account_id in self._positions

    def choose(self, pool: AccountPool, now: float, tried: Collection[str], *, probe: bool = True) -> str | None:
        """The next usable candidate that is not in ``tried``; it pays for being chosen.

        With ``probe`` it may be one that still cools down, whose turn it is to be probed.
        """
        position = self._find(pool, now, tried, probe)
        if position is None:
            return None
        self.cursor = position
        share = self._shares[position]
        if share:
            self._move(position, self._keys[position] + share)
        return self.ids[position]

    def peek(self, pool: AccountPool, now: float, tried: Collection[str] = ()) -> str | None:
        """Whom ``choose`` would give."""
        position = self._find(pool, now, tried, False)
        return None if position is None else self.ids[position]

    def _find(self, pool: AccountPool, now: float, tried: Collection[str], probe: bool) -> int | None:
        returns = self._returns
        while True:
            due = bool(returns) and returns[0][0] <= now
            if due:
                self._wake(pool, now)
            position = self._first(pool, now, tried, probe)
            if position is not None or not due:
                return position

    def _wake(self, pool: AccountPool, now: float) -> None:
        """Take back in order whose time has come, not too many at once."""
        returns = self._returns
        for _ in range(WOKEN_AT_ONCE):
            if not returns or returns[0][0] > now:
                return
            when, position = heappop(returns)
            if self._due.get(position) == when:
                del self._due[position]
            self._admit(position, pool)

    def _return(self, position: int, when: float, slack: float = 0.0) -> None:
        """Look at a candidate again at that time, or up to ``slack`` seconds later if that is planned already."""
        if when < self._due.get(position, math.inf) - slack:
            self._due[position] = when
            heappush(self._returns, (when, position))

    def better(self, account_id: str, pool: AccountPool) -> None:
        """The account may be better off than it was."""
        position = self._positions.get(account_id)
        if position is not None and (position in self._parked or self.strategy == QUOTA_AWARE):
            self._admit(position, pool)

    def _admit(self, position: int, pool: AccountPool) -> None:
        key = self._keys[position]
        if self.strategy == QUOTA_AWARE:
            key, until = pool.rank(self.ids[position])
            self._return(position, until, RANK_SLACK)
        elif self._shares[position] and position in self._parked and self._ready:
            key = max(key, self._ready[0][0])
        if position in self._parked:
            self._parked.discard(position)
            self._keys[position] = key
            insort(self._ready, (key, position))
        elif key != self._keys[position]:
            self._move(position, key)

    def _move(self, position: int, key: float) -> None:
        ready = self._ready
        del ready[bisect_left(ready, (self._keys[position], position))]
        self._keys[position] = key
        insort(ready, (key, position))

    def _park(self, position: int, until: float) -> None:
        ready = self._ready
        del ready[bisect_left(ready, (self._keys[position], position))]
        self._parked.add(position)
        self._return(position, until)

    def _first(self, pool: AccountPool, now: float, tried: Collection[str], probe: bool) -> int | None:
        """Position of the best usable candidate; those that are found blocked on the way are parked."""
        while (position := self._next(tried)) is not None:
            account_id = self.ids[position]
            until = pool.free_at(account_id, self._models[position], now)
            if until > 0.0 or (until and not probe):
                self._park(position, until if until > 0.0 else now + ASIDE_SECONDS)
            elif self.strategy == QUOTA_AWARE and (key := pool.rank(account_id)[0]) != self._keys[position]:
                self._move(position, key)
            else:
                return position
        return None

    def _next(self, tried: Collection[str]) -> int | None:
        """Position of the first in order that is not in ``tried``; among equals the one after the last choice."""
        ready, size = self._ready, len(self._ready)
        if not size:
            return None
        turns = self.strategy in (ROUND_ROBIN, QUOTA_AWARE)
        low = 0
        while low < size:
            key = ready[low][0]
            high = size if ready[-1][0] == key else bisect_left(ready, (key, _LAST), low)
            start = bisect_right(ready, (key, self.cursor), low, high) if turns else low
            for index in range(start, high):
                position = ready[index][1]
                if self.ids[position] not in tried:
                    return position
            for index in range(low, start):
                position = ready[index][1]
                if self.ids[position] not in tried:
                    return position
            low = high
        return None
