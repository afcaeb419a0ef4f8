"""All accounts and how they fare, changed by small named operations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from cpa.accounts.account import Account, same_login
from cpa.accounts.cooldown import Cooldown, Health, Scope


class AccountPool:
    """Accounts by id. ``clock`` gives monotonic seconds, ``wall`` Unix seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        self._accounts: dict[str, Account] = {}
        self._health: dict[str, Health] = {}
        self.clock = clock
        self._wall = wall
        self.cooling = True
        """False: ``disable-cooling`` is set for everybody."""

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
        elif known.secret != account.secret:
            self._health[account.id].renewed()

    def remove(self, account_id: str) -> None:
        """Forget an account; running exchanges keep their copy."""
        self._accounts.pop(account_id, None)
        self._health.pop(account_id, None)

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
        cooldown = self.blocked(account_id, model)
        return cooldown is None or cooldown.reason in ("quota", "transient")

    def succeed(self, account_id: str, model: str) -> None:
        """An attempt with the account succeeded."""
        if health := self._health.get(account_id):
            health.succeed(model)
            health.recent.note(True, self._wall())

    def fail(
        self, account_id: str, model: str, *, scope: Scope | None, reason: str, seconds: float | None, message: str
    ) -> None:
        """An attempt with the account failed, see :meth:`Health.fail`."""
        account = self._accounts.get(account_id)
        if account is None:
            return
        cooling = self.cooling if account.disable_cooling is None else not account.disable_cooling
        if not cooling and reason != "model_not_supported":
            scope = None
        health = self._health[account_id]
        health.fail(model, self.clock(), scope=scope, reason=reason, seconds=seconds, message=message)
        health.recent.note(False, self._wall())

    def reset(self, account_id: str) -> None:
        """Forget the cooldowns of an account."""
        if health := self._health.get(account_id):
            health.reset()
