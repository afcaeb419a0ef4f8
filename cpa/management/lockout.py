"""Who has guessed the management key wrong too often, and for how long they must wait."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

MOST_FAILURES = 5
BAN_SECONDS = 30 * 60.0
DECAY_SECONDS = 30 * 60.0
"""A failure this old no longer counts."""
LONGEST_LIST = 10_000


class _Record(Struct):
    failures: int = 0
    last_failure: float = 0.0
    banned_until: float = 0.0


class Lockout:
    """Failed attempts by address. ``clock`` gives monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: dict[str, _Record] = {}

    def remaining(self, address: str) -> float:
        """Seconds for which the address is still shut out; 0 when it is not."""
        record = self._records.get(address)
        if record is None or not record.banned_until:
            return 0.0
        left = record.banned_until - self._clock()
        if left <= 0:
            del self._records[address]
            return 0.0
        return left

    def failed(self, address: str) -> None:
        """The address gave a wrong key; the fifth in a row shuts it out."""
        now = self._clock()
        record = self._records.get(address)
        if record is None:
            self._make_room(now)
            record = self._records[address] = _Record()
        if now - record.last_failure > DECAY_SECONDS:
            record.failures = 0
        record.failures += 1
        record.last_failure = now
        if record.failures >= MOST_FAILURES:
            record.failures = 0
            record.banned_until = now + BAN_SECONDS

    def succeeded(self, address: str) -> None:
        """The address gave the right key: what it did before is forgotten."""
        self._records.pop(address, None)

    def _make_room(self, now: float) -> None:
        """Bound the memory an attacker with many addresses can take."""
        if len(self._records) < LONGEST_LIST:
            return
        for address in [a for a, r in self._records.items() if now - r.last_failure > DECAY_SECONDS]:
            del self._records[address]
        while len(self._records) >= LONGEST_LIST:
            del self._records[next(iter(self._records))]


def duration_text(seconds: float) -> str:
    """``29m59s``, ``1h2m3s``: whole seconds."""
    whole = max(1, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{left}s"
