"""All accounts and how they fare, changed by small named operations."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from cpa.accounts.account import Account, same_login
from cpa.accounts.cooldown import PROBE_INTERVAL, Cooldown, Health, Scope
from cpa.accounts.quota import NOT_KNOWN, QuotaWindow, Standing, current, merged, standing

CHANGES_KEPT = 4096
CLOCK_LEEWAY = 5.0
"""Seconds that the wall clock may drift against the monotonic one before it counts as set."""


class Lease:
    """One request's use of an account, where that has to be known: ``release`` it on every path."""

    def __init__(self, pool: AccountPool, account_id: str, counted: bool, probe: tuple[tuple[str, float], ...]) -> None:
        self._pool = pool
        self._account_id = account_id
        self._counted = counted
        self._probe = probe
        self._open = True

    def answering(self) -> None:
        """The account answers: if this was a probe, it is over."""
        self._pool.probe_answers(self._account_id, self._probe)

    def release(self) -> None:
        """The request is over; later calls change nothing."""
        if self._open:
            self._open = False
            self._pool.end_lease(self._account_id, self._counted, self._probe)


class AccountPool:
    """Accounts by id. ``clock`` gives monotonic seconds, ``wall`` Unix seconds.

    Whoever keeps accounts in an order of his own follows ``changed`` and ``changes_since``: they name the accounts
    that may be better off than they were. That one is worse off is found when it is asked for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._accounts: dict[str, Account] = {}
        self._health: dict[str, Health] = {}
        self.clock = clock
        self.wall = wall
        self.cooling = True
        """False: ``disable-cooling`` is set for everybody."""
        self.concurrency = 0
        """Requests at a time through one account that says nothing itself; 0 is no limit."""
        self.quota_reserve = 0.0
        """Share 0..1 of every quota window that the quota-aware strategy keeps while others have room."""
        self.probe_interval = PROBE_INTERVAL
        """Seconds after which one request tries whether a cooldown is still right; 0 never does."""
        self._clock_offset = wall() - clock()
        self.changed = 0
        """Grows whenever an account may be better off."""
        self._changes: deque[str] = deque(maxlen=CHANGES_KEPT)
        self._waiters: list[asyncio.Future[None]] = []
        self._running: dict[str, int] = {}
        self._quota: dict[str, list[QuotaWindow]] = {}
        self.quota_noted = False
        """Whether quota windows were seen since somebody last set this to False."""
        self._standing: dict[str, Standing] = {}

    def __len__(self) -> int:
        return len(self._accounts)

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def get(self, account_id: str) -> Account | None:
        """The account, or None when it is gone."""
        return self._accounts.get(account_id)

    def health(self, account_id: str) -> Health:
        """How an account fares; a fresh state for one that is gone."""
        return self._health.get(account_id) or Health()

    def put(self, account: Account) -> None:
        """Add an account or replace it. Cooldowns survive unless it is another login now.

        A renewed token ends what the old one was refused for.
        """
        known = self._accounts.get(account.id)
        self._accounts[account.id] = account
        if known is None or not same_login(known, account):
            self._health[account.id] = Health()
            self._forget_quota(account.id)
        elif known.secret != account.secret:
            self._health[account.id].renewed()
        if known is not None:
            self._better(account.id)

    def remove(self, account_id: str) -> None:
        """Forget an account; running exchanges keep their copy."""
        self._accounts.pop(account_id, None)
        self._health.pop(account_id, None)
        self._forget_quota(account_id)

    def blocked(self, account_id: str, model: str) -> Cooldown | None:
        """Why the account cannot be used for an upstream model now; None when it can."""
        health = self._health.get(account_id)
        return health.blocked(model, self.clock()) if health is not None else None

    def usable(self, account_id: str, model: str) -> bool:
        """Whether the account exists, is enabled and not cooling for the model."""
        account = self._accounts.get(account_id)
        if account is None or account.disabled:
            return False
        health = self._health[account_id]
        if health.account is None and not health.models:
            return True
        return health.blocked(model, self.clock()) is None

    def listed(self, account_id: str, model: str) -> bool:
        """Whether model lists should show it: usable, or only waiting for its quota."""
        account = self._accounts.get(account_id)
        if account is None or account.disabled:
            return False
        cooldown = self._health[account_id].cooling(model, self.clock())
        return cooldown is None or cooldown.reason in ("quota", "transient")

    def succeed(self, account_id: str, model: str, began: float = math.inf) -> None:
        """An attempt with the account succeeded; ``began`` is when it was sent (monotonic)."""
        if health := self._health.get(account_id):
            if health.succeed(model, began):
                self._better(account_id)
            health.recent.note(True, self.wall())

    def fail(
        self,
        account_id: str,
        model: str,
        *,
        scope: Scope | None,
        reason: str,
        seconds: float | None,
        message: str,
        began: float = math.inf,
    ) -> None:
        """An attempt with the account failed, see :meth:`Health.fail`."""
        account = self._accounts.get(account_id)
        if account is None:
            return
        cooling = self.cooling if account.disable_cooling is None else not account.disable_cooling
        if not cooling and reason != "model_not_supported":
            scope = None
        health = self._health[account_id]
        health.fail(
            model,
            self.clock(),
            scope=scope,
            reason=reason,
            seconds=seconds,
            message=message,
            began=began,
            probe_interval=self.probe_interval,
        )
        health.recent.note(False, self.wall())

    def reset(self, account_id: str) -> None:
        """Forget the cooldowns of an account."""
        if health := self._health.get(account_id):
            health.reset()
            self._better(account_id)

    # -- what a choice asks ----------------------------------------------------------------------------------------

    def free_at(self, account_id: str, models: Sequence[str], now: float) -> float:
        """0 when the account may be used at ``now`` for one of the upstream models, else when that may change.

        Monotonic seconds; infinite when it changes by an event, which ``changes_since`` tells, and not by time.
        Negative when it cools down, and one request may find out whether that is still right.
        """
        account = self._accounts.get(account_id)
        if account is None or account.disabled or self._is_full(account):
            return math.inf
        health = self._health[account_id]
        if health.account is None and not health.models:
            return 0.0
        soonest = math.inf
        for model in models:
            block = health.blocked(model, now)
            if block is None:
                if health.cooling(model, now) is None:
                    return 0.0
                soonest = -1.0
            else:
                soonest = min(soonest, block.opens if block.opens > now else block.until)
        return soonest

    def changes_since(self, count: int) -> Iterable[str] | None:
        """Accounts that may be better off than when ``changed`` was ``count``; None when they are too many to know."""
        missed = self.changed - count
        if missed > len(self._changes):
            return None
        return [self._changes[place] for place in range(-missed, 0)]

    async def wait_for_change(self, seconds: float) -> None:
        """Return once an account may be better off or a probe was in vain, at the latest after ``seconds``."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _better(self, account_id: str) -> None:
        self.changed += 1
        self._changes.append(account_id)
        self._wake()

    def _wake(self) -> None:
        """Let those look again who wait for a busy account."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    # -- requests that are under way ---------------------------------------------------------------------------------

    def running(self, account_id: str) -> int:
        """How many requests an account serves now; 0 when their number is not limited."""
        return self._running.get(account_id, 0)

    def limit(self, account: Account) -> int:
        """How many requests an account may serve at a time; 0 is no limit."""
        return account.concurrency or self.concurrency

    def _is_full(self, account: Account) -> bool:
        limit = account.concurrency or self.concurrency
        return limit > 0 and self._running.get(account.id, 0) >= limit

    def lease(self, account_id: str, model: str) -> Lease | None:
        """A request is sent now. None when nothing of it must be known: no limit on requests, no cooldown to probe."""
        account = self._accounts.get(account_id)
        if account is None:
            return None
        health = self._health[account_id]
        probe: tuple[tuple[str, float], ...] = ()
        if health.account is not None or health.models:
            probe = health.begin_probe(model, self.clock())
        counted = (account.concurrency or self.concurrency) > 0
        if not counted and not probe:
            return None
        if counted:
            self._running[account_id] = self._running.get(account_id, 0) + 1
        return Lease(self, account_id, counted, probe)

    def probe_answers(self, account_id: str, probe: tuple[tuple[str, float], ...]) -> None:
        """The probe of a lease has begun to answer."""
        health = self._health.get(account_id)
        if probe and health is not None and health.answering(probe):
            self._better(account_id)

    def end_lease(self, account_id: str, counted: bool, probe: tuple[tuple[str, float], ...]) -> None:
        """A leased request is over, see :class:`Lease`."""
        health = self._health.get(account_id)
        undecided = bool(probe) and health is not None and health.end_probe(probe)
        if counted:
            left = self._running.get(account_id, 1) - 1
            if left > 0:
                self._running[account_id] = left
            else:
                self._running.pop(account_id, None)
        if counted or undecided:
            self._better(account_id)
        elif probe:
            self._wake()

    # -- quota -----------------------------------------------------------------------------------------------------

    def note_quota(self, account_id: str, windows: Iterable[QuotaWindow]) -> None:
        """Quota windows were seen. When a query finds room in all of them, cooldowns for want of quota are over."""
        if account_id not in self._accounts:
            return
        seen, now = list(windows), self.wall()
        if not seen:
            return
        self._quota[account_id] = merged(self._quota.get(account_id, ()), seen, now)
        self.quota_noted = True
        before = self._standing.get(account_id, NOT_KNOWN)
        fresh = self._standing[account_id] = standing(self._quota[account_id], self.quota_reserve, now)
        told = [window for window in seen if window.used_ratio is not None and not window.paid]
        if told and all(window.source == "query" and (window.used_ratio or 0.0) < 1.0 for window in told):
            self._health[account_id].refilled()
        elif fresh.rank >= before.rank:
            return
        self._better(account_id)

    def quota(self, account_id: str) -> list[QuotaWindow]:
        """The account's quota windows as last seen, without those that have started anew since."""
        return current(self._quota.get(account_id, ()), self.wall())

    def rank(self, account_id: str) -> tuple[float, float]:
        """The account's place in the quota-aware order (lower is better), and until when it holds (monotonic)."""
        known = self._standing.get(account_id)
        if known is None:
            return NOT_KNOWN.rank, math.inf
        if known.until == math.inf:
            return known.rank, math.inf
        wall = self.wall()
        if known.until <= wall:
            known = self._standing[account_id] = standing(self._quota[account_id], self.quota_reserve, wall)
        return known.rank, self.clock() + known.until - wall

    def heed_clock(self) -> None:
        """Place accounts anew whose order depends on the time of day, when the wall clock was set meanwhile."""
        offset = self.wall() - self.clock()
        if abs(offset - self._clock_offset) < CLOCK_LEEWAY:
            return
        self._clock_offset = offset
        now = self.wall()
        for account_id, windows in self._quota.items():
            self._standing[account_id] = standing(windows, self.quota_reserve, now)
            self._better(account_id)

    def keep_reserve(self, share: float) -> None:
        """Keep another share of every quota window from now on."""
        if share == self.quota_reserve:
            return
        self.quota_reserve = share
        now = self.wall()
        for account_id, windows in self._quota.items():
            self._standing[account_id] = standing(windows, share, now)
            self._better(account_id)

    def _forget_quota(self, account_id: str) -> None:
        self._quota.pop(account_id, None)
        self._standing.pop(account_id, None)
