"""Who has guessed the management key wrong too often, and for how long they must wait."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from msgspec import Struct

MOST_FAILURES = 5
BAN_SECONDS = 30 * 60.0
DECAY_SECONDS = 30 * 60.0
"""A failure this old no longer counts."""
LONGEST_LIST = 10_000
"""Addresses that are remembered at most."""


class _Record(Struct):
    failures: int = 0
    last_failure: float = 0.0
    banned_until: float = 0.0


class Lockout:
    """Failed attempts by who made them. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}
        """Whoever failed longest ago comes first."""

    def remaining(self, who: str) -> float:
        """Seconds for which somebody is still shut out; 0 when it is not."""
        record = self._records.get(who)
        if record is None or not record.banned_until:
            return 0.0
        left = record.banned_until - self._clock()
        if left <= 0:
            del self._records[who]
            return 0.0
        return left

    def failed(self, who: str) -> None:
        """Somebody gave a wrong key; the fifth in a row shuts it out."""
        now = self._clock()
        record = self._records.pop(who, None) or _Record()
        if now - record.last_failure > DECAY_SECONDS:
            record.failures = 0
        record.failures += 1
        record.last_failure = now
        if record.failures >= MOST_FAILURES:
            record.failures = 0
            record.banned_until = now + BAN_SECONDS
        self._make_room(now)
        self._records[who] = record

    def succeeded(self, who: str) -> None:
        """Somebody gave the right key: what it did before is forgotten."""
        self._records.pop(who, None)

    def forget_all(self) -> None:
        """The key is another one from now on: nobody has guessed it wrong yet."""
        self._records.clear()

    def _make_room(self, now: float) -> None:
        """Forget what no longer counts, and bound the memory an attacker with many addresses can take."""
        while self._records:
            oldest = next(iter(self._records))
            idle = now - self._records[oldest].last_failure > max(DECAY_SECONDS, BAN_SECONDS)
            if not idle and len(self._records) < LONGEST_LIST:
                return
            del self._records[oldest]


def attempts_of(address: str) -> str:
    """Whose attempts those from an address are: its own, or its network's where one host has 2**64 addresses."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = getattr(parsed, "ipv4_mapped", None)
    if mapped is not None:
        return str(mapped)
    if parsed.version == 4 or parsed.is_loopback:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def duration_text(seconds: float) -> str:
    """``29m59s``, ``1h2m3s``: whole seconds."""
    whole = max(1, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{left}s"
