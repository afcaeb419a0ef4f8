"""Find the account that a request names."""

from __future__ import annotations

import re

from cpa.accounts.account import Account, account_index
from cpa.accounts.pool import AccountPool

_PLACE = re.compile(r"config:([\w-]+)\[(\d+)\]")


def index_of(account: Account) -> str:
    """The 16 hex digits by which answers name an account."""
    return account.index or account_index(f"id:{account.id}")


def account_at(pool: AccountPool, index: str) -> Account | None:
    """The account with that index; None when there is none."""
    return next((account for account in pool if index_of(account) == index), None)


def place_in_config(account: Account) -> tuple[str, int] | None:
    """The list in the configuration that yields the account, and the position there; None for an auth file's."""
    found = _PLACE.fullmatch(account.source)
    return (found[1], int(found[2])) if found else None
