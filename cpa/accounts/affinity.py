"""Which account a session used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable


class Affinity:
    """The accounts that sessions are bound to: a preference, never a pin. ``clock`` gives monotonic seconds."""

    LIMIT = 20_000
    """Bindings; ten megabytes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._bound: OrderedDict[tuple[str, str], tuple[str, float]] = OrderedDict()
        self._clock = clock

    def __len__(self) -> int:
        return len(self._bound)

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
        now = self._clock()
        self._bound[session, model] = (account_id, now + ttl)
        self._bound.move_to_end((session, model))
        self._sweep(now)

    def release(self, session: str, model: str, account_id: str) -> None:
        """Forget the binding if it still names ``account_id`` (another request may have moved it on)."""
        if (found := self._bound.get((session, model))) is not None and found[0] == account_id:
            del self._bound[session, model]

    def clear(self) -> None:
        """Forget every binding."""
        self._bound.clear()

    def _sweep(self, now: float) -> None:
        """Drop the oldest while they have expired, two for one: nothing piles up and no call pays for many."""
        for _ in range(2):
            oldest = next(iter(self._bound))
            if self._bound[oldest][1] > now and len(self._bound) <= self.LIMIT:
                return
            del self._bound[oldest]
            if not self._bound:
                return
