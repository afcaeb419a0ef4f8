"""How much of an account's allowance is used, in windows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal, TypeAlias

from msgspec import Struct

QuotaSource: TypeAlias = Literal["headers", "query", "event"]


class QuotaWindow(Struct, frozen=True, kw_only=True):
    """One allowance that starts anew at a certain time."""

    name: str
    """``five_hour``, ``seven_day``, ``month`` ...; what it is limited to stands after a colon (``seven_day:opus``)."""
    used_ratio: float | None
    """0 unused to 1 used up; None when the vendor does not say."""
    resets_at: float | None
    """Unix seconds; None when unknown."""
    limit_seconds: float | None = None
    """How long the window is; None when unknown."""
    source: QuotaSource
    seen_at: float
    """Unix seconds."""
    amount: str = ""
    """What is left or used of something that is paid for beside the allowance, as a person reads it."""
    plan: str = ""
    """What the vendor calls the subscription, where it says so with the window."""

    @property
    def paid(self) -> bool:
        """Whether it is paid for beside the allowance: it says nothing about whether requests are served."""
        return bool(self.amount)

    @property
    def limited(self) -> bool:
        """Whether it is for some models or uses only, and says nothing about the others."""
        return ":" in self.name


def current(windows: Iterable[QuotaWindow], now: float) -> list[QuotaWindow]:
    """The windows that have not started anew since they were seen; ``now`` in Unix seconds."""
    return [window for window in windows if window.resets_at is None or window.resets_at > now]


def merged(known: Iterable[QuotaWindow], seen: Iterable[QuotaWindow], now: float) -> list[QuotaWindow]:
    """What is known after windows were seen: by name the newest; those that started anew are left out."""
    found = {window.name: window for window in current(known, now)}
    for window in current(seen, now):
        before = found.get(window.name)
        if before is None or before.seen_at <= window.seen_at:
            found[window.name] = window
    return [found[name] for name in sorted(found)]


WITH_ROOM, UNKNOWN, IN_RESERVE, USED_UP = 0.0, 1.0, 2.0, 3.0
_CLASS = 1e12
_GRAIN = 60.0
"""Vendors' reset times waver by seconds; accounts that reset in the same minute take turns."""


class Standing(Struct, frozen=True):
    """Where an account stands in the order of the quota-aware strategy."""

    rank: float
    """Lower is better: first accounts with room by their soonest reset, then those whose windows are not known, then
    those of which only the reserve is left, then those that are used up."""
    until: float
    """Unix seconds; then a window starts anew and the rank is another."""


NOT_KNOWN = Standing(UNKNOWN * _CLASS, math.inf)


def standing(windows: Iterable[QuotaWindow], reserve: float, now: float) -> Standing:
    """The standing by an account's windows at ``now`` (Unix seconds); ``reserve`` is the share 0..1 to keep."""
    running = [window for window in current(windows, now) if not (window.limited or window.paid)]
    used = [window.used_ratio for window in running if window.used_ratio is not None]
    resets = [window.resets_at for window in running if window.resets_at is not None]
    soonest = min(resets, default=math.inf)
    if not used and not resets:
        return NOT_KNOWN
    fullest = max(used, default=0.0)
    place = USED_UP if fullest >= 1.0 else IN_RESERVE if fullest >= 1.0 - reserve else WITH_ROOM
    if place == WITH_ROOM and soonest == math.inf:
        place = UNKNOWN
    minute = soonest // _GRAIN if soonest != math.inf else _CLASS / 2
    return Standing(place * _CLASS + minute, soonest)
