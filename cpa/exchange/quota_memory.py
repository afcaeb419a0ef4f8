"""What is known of quota, kept over restarts: nobody tells it anew until a login is used or asked about."""

from __future__ import annotations

from typing import Any

from msgspec import ValidationError, convert, to_builtins

from cpa.accounts.pool import AccountPool
from cpa.accounts.quota import QuotaWindow

FILE_NAME = "quota.json"
DAY = 86400.0


class QuotaMemory:
    """The quota windows of a pool, as a state file keeps them."""

    def __init__(self, pool: AccountPool) -> None:
        self._pool = pool

    @property
    def changed(self) -> bool:
        """Whether windows were seen since somebody last set this to False."""
        return self._pool.quota_noted

    @changed.setter
    def changed(self, value: bool) -> None:
        self._pool.quota_noted = value

    def state(self) -> dict[str, Any]:
        """The windows of every account, with its label: another login may stand in its place some day."""
        return {
            account.id: {"label": account.label, "windows": to_builtins(known)}
            for account in self._pool
            if (known := self._pool.quota(account.id))
        }

    def restore(self, state: Any) -> None:
        """Take back what :meth:`state` gave, as far as it still holds; what has another shape is left out."""
        now = self._pool.wall()
        for account_id, row in state.items() if isinstance(state, dict) else ():
            account = self._pool.get(account_id)
            if account is None or not isinstance(row, dict) or row.get("label") != account.label:
                continue
            try:
                windows = convert(row.get("windows"), list[QuotaWindow])
            except ValidationError:
                continue
            self._pool.note_quota(account_id, [window for window in windows if _holds(window, now)])


def _holds(window: QuotaWindow, now: float) -> bool:
    """Whether it was seen before now, and not so long ago that it has started anew where nothing tells when."""
    if window.seen_at > now:
        return False
    return window.resets_at is not None or now < window.seen_at + (window.limit_seconds or DAY)
