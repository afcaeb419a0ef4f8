"""When an account may be used for a model: a function of its past failures and of time.

Times are monotonic seconds, so that a changed wall clock neither frees nor jails an account.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from cpa.accounts.recent import RecentRequests

Scope: TypeAlias = Literal["model", "account"]

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 30 * 60.0
LAST_LEVEL = 11
"""After it the longest back-off applies: 1, 2, 4 ... 1024 seconds, then half an hour."""
PROBE_SECONDS = 10.0
"""How long others wait for the first request after a cooldown; one that has not failed by then holds nobody back."""
PROBE_INTERVAL = 900.0
"""Seconds after which one request finds out whether a cooldown that runs longer is still right; 0 never does."""


class Cooldown(Struct, frozen=True):
    """Leave it alone until ``until``."""

    until: float
    reason: str
    """``quota``, ``unauthorized``, ``payment_required``, ``not_found``, ``model_not_supported``, ``transient`` ..."""
    since: float = 0.0
    """When it was imposed: how an attempt fares that began before says nothing new."""
    probe_at: float = math.inf
    """When a single request may try all the same: what was true then may be over early (credits bought, say)."""

    @property
    def opens(self) -> float:
        """When somebody may try."""
        return min(self.until, self.probe_at)


def imposed(now: float, seconds: float, reason: str, probe_interval: float = PROBE_INTERVAL) -> Cooldown:
    """A cooldown of so many seconds from ``now`` on, to be probed at intervals where these are shorter."""
    until = now + seconds
    probe_at = now + probe_interval if 0 < probe_interval < seconds else math.inf
    return Cooldown(until, reason, now, probe_at)


class Health(Struct):
    """How one account fares. Changed only through its methods.

    A cooldown that is over is half-open until an attempt succeeds: the first request is a probe, others see it
    blocked (``probing``) while that has neither answered nor failed, for at most ``PROBE_SECONDS``. So is a long one
    at intervals; meanwhile others see it running as before.
    """

    account: Cooldown | None = None
    models: dict[str, Cooldown] = field(default_factory=dict)
    """By upstream model name."""
    backoff: dict[str, int] = field(default_factory=dict)
    """How often in a row a model's quota was hit without a hint when to return."""
    probes: dict[str, float] = field(default_factory=dict)
    """Until when others wait for the probe of a model; that of the whole account under the empty name."""
    succeeded: int = 0
    failed: int = 0
    last_error: str | None = None
    recent: RecentRequests = field(default_factory=RecentRequests)

    def remember(self, at: float, succeeded: int, failed: int) -> None:
        """Count attempts of an earlier process that ended at ``at`` (Unix seconds); nothing else follows from them."""
        self.succeeded += succeeded
        self.failed += failed
        self.recent.add(at, succeeded, failed)

    def cooling(self, model: str, now: float) -> Cooldown | None:
        """The cooldown that is not over at ``now``, whether or not somebody may probe it."""
        for cooldown in (self.account, self.models.get(model)):
            if cooldown is not None and cooldown.until > now:
                return cooldown
        return None

    def blocked(self, model: str, now: float) -> Cooldown | None:
        """The cooldown that forbids using the account for ``model`` at ``now``; None when it may be used."""
        if self.account is not None and (held := self._held("", self.account, now)) is not None:
            return held
        cooldown = self.models.get(model)
        return self._held(model, cooldown, now) if cooldown is not None else None

    def _held(self, name: str, cooldown: Cooldown, now: float) -> Cooldown | None:
        if cooldown.opens > now:
            return cooldown
        deadline = self.probes.get(name, now)
        if deadline <= now:
            return None
        return cooldown if cooldown.until > now else Cooldown(deadline, "probing", cooldown.since)

    def begin_probe(self, model: str, now: float) -> tuple[tuple[str, float], ...]:
        """A request is sent: what it probes, to be given to ``end_probe``; nothing without a cooldown."""
        begun = []
        for name, cooldown in (("", self.account), (model, self.models.get(model))):
            if cooldown is None or cooldown.opens > now:
                continue
            if name not in self.probes or self.probes[name] <= now < cooldown.until:
                self.probes[name] = now + PROBE_SECONDS
                begun.append((name, self.probes[name]))
        return tuple(begun)

    def end_probe(self, begun: tuple[tuple[str, float], ...]) -> bool:
        """A probe ended. Without a verdict (it was cancelled, say) the next request probes; whether that is so."""
        undecided = [name for name, deadline in begun if self.probes.get(name) == deadline]
        for name in undecided:
            del self.probes[name]
        return bool(undecided)

    def answering(self, begun: tuple[tuple[str, float], ...]) -> bool:
        """A probe has begun to answer: what it probed is usable by all; whether that changed anything."""
        passed = [name for name, deadline in begun if self.probes.get(name) == deadline]
        for name in passed:
            self._clear(name)
        return bool(passed)

    def succeed(self, model: str, began: float = math.inf) -> bool:
        """An attempt that began at ``began`` succeeded: what stood against it then is over; whether anything did."""
        self.succeeded += 1
        if self.account is None and not self.models and not self.backoff:
            return False
        changed = False
        for name, cooldown in (("", self.account), (model, self.models.get(model))):
            if cooldown is not None and cooldown.since <= began:
                self._clear(name)
                changed = True
        if model not in self.models:
            self.backoff.pop(model, None)
        return changed

    def _clear(self, name: str) -> None:
        self.probes.pop(name, None)
        if name:
            self.models.pop(name, None)
        else:
            self.account = None

    def fail(
        self,
        model: str,
        now: float,
        *,
        scope: Scope | None,
        reason: str,
        seconds: float | None,
        message: str,
        began: float = math.inf,
        probe_interval: float = PROBE_INTERVAL,
    ) -> None:
        """An attempt that began at ``began`` failed.

        ``scope`` None: nobody's fault here, only counted. ``seconds`` None: back off exponentially; failures of
        attempts that began before the last cooldown was imposed, or that arrive while it runs (a burst), do not
        escalate it. A shorter cooldown never replaces a longer one.
        """
        self.failed += 1
        self.last_error = message
        if scope is None or seconds == 0:
            return
        name = "" if scope == "account" else model
        known = self.models.get(model) if name else self.account
        if seconds is None:
            if known is not None and (known.until > now or began < known.since):
                self._probed(name, known, now, probe_interval, began)
                return
            level = self.backoff.get(model, 0)
            seconds = min(FIRST_BACKOFF * 2**level, LONGEST_BACKOFF)
            self.backoff[model] = min(level + 1, LAST_LEVEL)
        cooldown = imposed(now, seconds, reason, probe_interval)
        if known is not None and known.until > cooldown.until:
            self._probed(name, known, now, probe_interval, began)
            return
        self.probes.pop(name, None)
        if name:
            self.models[model] = cooldown
        else:
            self.account = cooldown

    def _probed(self, name: str, known: Cooldown, now: float, interval: float, began: float) -> None:
        """A cooldown runs on. When an attempt since it may be probed has failed, it is right for another interval."""
        if began < known.probe_at or now < known.probe_at:
            return
        self.probes.pop(name, None)
        probe_at = now + interval if 0 < interval < known.until - now else math.inf
        confirmed = replace(known, probe_at=probe_at)
        if name:
            self.models[name] = confirmed
        else:
            self.account = confirmed

    def running(self, now: float) -> Iterator[tuple[str, Cooldown]]:
        """Cooldowns that are not over, by upstream model; that of the whole account under the empty name."""
        if self.account is not None and self.account.until > now:
            yield "", self.account
        for model, cooldown in self.models.items():
            if cooldown.until > now:
                yield model, cooldown

    def restore(self, model: str, cooldown: Cooldown, level: int) -> None:
        """Put back a cooldown as ``running`` gave it, with the back-off level the model had."""
        if not model:
            self.account = cooldown
            return
        self.models[model] = cooldown
        if level:
            self.backoff[model] = level

    def keep(self, models: Collection[str]) -> None:
        """Only these upstream models are offered (any more): forget how others fared."""
        kept = {"", *models}
        states: dict[str, Any]
        for states in (self.models, self.backoff, self.probes):
            for model in [model for model in states if model not in kept]:
                del states[model]

    def renewed(self) -> None:
        """The token is a new one: forget that the old one was refused."""
        self._forgive("unauthorized")

    def refilled(self) -> None:
        """The vendor says that there is quota again: forget that there was none."""
        self._forgive("quota")
        self.backoff.clear()

    def _forgive(self, reason: str) -> None:
        if self.account is not None and self.account.reason == reason:
            self._clear("")
        for model in [model for model, cooldown in self.models.items() if cooldown.reason == reason]:
            self._clear(model)

    def reset(self) -> None:
        """Forget every cooldown."""
        self.account = None
        self.models.clear()
        self.backoff.clear()
        self.probes.clear()
