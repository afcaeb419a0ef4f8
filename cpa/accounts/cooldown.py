"""When an account may be used for a model: a function of its past failures and of time.

Times are monotonic seconds, so that a changed wall clock neither frees nor jails an account.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Literal, TypeAlias

from msgspec import Struct, field

from cpa.accounts.recent import RecentRequests

Scope: TypeAlias = Literal["model", "account"]

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 30 * 60.0


class Cooldown(Struct, frozen=True):
    """Leave it alone until ``until``."""

    until: float
    reason: str
    """``quota``, ``unauthorized``, ``payment_required``, ``not_found``, ``model_not_supported``, ``transient`` ..."""


class Health(Struct):
    """How one account fares. Changed only through its methods."""

    account: Cooldown | None = None
    models: dict[str, Cooldown] = field(default_factory=dict)
    """By upstream model name."""
    backoff: dict[str, int] = field(default_factory=dict)
    """How often in a row a model's quota was hit without a hint when to return."""
    succeeded: int = 0
    failed: int = 0
    last_error: str | None = None
    recent: RecentRequests = field(default_factory=RecentRequests)

    def blocked(self, model: str, now: float) -> Cooldown | None:
        """The cooldown that forbids using the account for ``model`` at ``now``; None when it may be used."""
        whole = self.account
        if whole is not None and whole.until > now:
            return whole
        cooldown = self.models.get(model)
        return cooldown if cooldown is not None and cooldown.until > now else None

    def succeed(self, model: str) -> None:
        """An attempt succeeded: whatever stood against the account or the model is over."""
        self.succeeded += 1
        if self.account is not None or self.models or self.backoff:
            self.account = None
            self.models.pop(model, None)
            self.backoff.pop(model, None)

    def fail(
        self, model: str, now: float, *, scope: Scope | None, reason: str, seconds: float | None, message: str
    ) -> None:
        """An attempt failed.

        ``scope`` None: nobody's fault here, only counted. ``seconds`` None: back off exponentially; failures that
        arrive while the cooldown of an earlier one still runs (a burst) do not escalate it. A shorter cooldown
        never replaces a longer one.
        """
        self.failed += 1
        self.last_error = message
        if scope is None or seconds == 0:
            return
        running = self.account if scope == "account" else self.models.get(model)
        if seconds is None:
            if running is not None and running.until > now:
                return
            level = self.backoff.get(model, 0)
            seconds = min(FIRST_BACKOFF * 2**level, LONGEST_BACKOFF)
            self.backoff[model] = min(level + 1, 11)
        cooldown = Cooldown(now + seconds, reason)
        if running is not None and running.until > cooldown.until:
            return
        if scope == "account":
            self.account = cooldown
        else:
            self.models[model] = cooldown

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
        for states in (self.models, self.backoff):
            for model in [model for model in states if model not in models]:
                del states[model]

    def renewed(self) -> None:
        """The token is a new one: forget that the old one was refused."""
        if self.account is not None and self.account.reason == "unauthorized":
            self.account = None
        for model in [model for model, cooldown in self.models.items() if cooldown.reason == "unauthorized"]:
            del self.models[model]

    def reset(self) -> None:
        """Forget every cooldown."""
        self.account = None
        self.models.clear()
        self.backoff.clear()
