"""Every account there is, whatever it came from, as the API and the command line show it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from cpa.accounts.account import Account
from cpa.accounts.explain import Explanation
from cpa.accounts.file_fields import expires_at
from cpa.accounts.pool import AccountPool
from cpa.accounts.refresh import LoginState, has_expired, refresh_token_of
from cpa.catalog.catalog import Catalog
from cpa.exchange.quota_query import Asked, QuotaQueries
from cpa.exchange.roster import Roster
from cpa.management.account_lookup import index_of, place_in_config
from cpa.management.auth_file_view import plan_of, shown_account

LoginOf: TypeAlias = Callable[[Account], LoginState | None]
"""How the refreshing of an account's login fares; None where nothing refreshes it."""


def shown_accounts(
    pool: AccountPool, roster: Roster, catalog: Catalog, login_of: LoginOf = lambda account: None
) -> list[dict[str, Any]]:
    """All accounts by provider and name, keys of the configuration included. No secret is in it. Reads file times."""
    files = {str(file.path): file.path for file in list(roster.files.values())}
    shown = [_shown(account, pool, catalog, files.get(account.source), login_of) for account in list(pool)]
    return sorted(shown, key=lambda entry: (entry["provider"], str(entry["name"]).lower(), entry["id"]))


def _shown(
    account: Account, pool: AccountPool, catalog: Catalog, file: Path | None, login_of: LoginOf
) -> dict[str, Any]:
    place = place_in_config(account)
    shown = shown_account(account, pool, file=file, login=login_of(account))
    del shown["recent_requests"]  # half of what there is to send, and told by ``/auth-files``
    shown |= {
        "kind": account.kind,
        "label": own_label(account) or account.label,
        "source": "file" if file is not None else "config" if place is not None else "memory",
        "offers": len(catalog.models_of(account.id)),
        "renewable": bool(refresh_token_of(account.metadata)),
        "expires_at": expires_at(account.metadata),
        "windows": [msgspec.to_builtins(window) for window in pool.quota(account.id)],
    }
    if place is not None:
        shown["config_section"], shown["config_position"] = place
    if account.settings.get("children"):
        shown["projects"] = list(account.settings["children"])
    if account.settings.get("parent"):
        shown["parent"] = account.settings["parent"]
    return shown


def own_label(account: Account) -> str:
    """The name a user gave the account in its file; empty when there is none."""
    label = account.metadata.get("label")
    return label.strip() if isinstance(label, str) else ""


def shown_explanation(
    explanation: Explanation, pool: Iterable[Account], login_of: LoginOf = lambda account: None
) -> dict[str, Any]:
    """Why a model's requests go where they go, with the accounts of those providers that are not even looked at.

    A candidate has ``trouble`` when its login does not fare well, and is ``over`` when it can serve nothing any more.
    """
    shown: dict[str, Any] = msgspec.to_builtins(explanation)
    accounts = {account.id: account for account in pool}
    for candidate in shown["candidates"]:
        account = accounts.pop(candidate["account_id"], None)
        login = login_of(account) if account is not None else None
        candidate["label"] = (own_label(account) if account is not None else "") or candidate["label"]
        candidate["trouble"] = login.trouble if login is not None else ""
        candidate["over"] = bool(
            login is not None
            and account is not None
            and login.login_again
            and has_expired(account.metadata, time.time())
        )
    providers = {candidate["provider"] for candidate in shown["candidates"]}
    shown["left_out"] = [
        {
            "account_id": account.id,
            "label": own_label(account) or account.label,
            "provider": account.provider,
            "because": because,
        }
        for account in accounts.values()
        if account.provider in providers and not account.settings.get("children")
        if (because := _idle_because(account))
    ]
    return shown


def _idle_because(account: Account) -> str:
    if account.disabled:
        return "disabled"
    return str(account.settings.get("unserved") or "")


def shown_quota(account: Account, pool: AccountPool, queries: QuotaQueries | None) -> dict[str, Any]:
    """The quota windows of an account, and what became of the last question to its vendor."""
    asked = queries.last(account.id) if queries is not None else None
    windows = pool.quota(account.id)
    plan = plan_of(account, windows)
    return {
        "auth_index": index_of(account),
        "id": account.id,
        "provider": account.provider,
        "label": own_label(account) or account.label,
        **({"plan_type": plan} if plan else {}),
        "windows": [msgspec.to_builtins(window) for window in windows],
        **(shown_asked(asked) if asked is not None else {}),
    }


def shown_asked(asked: Asked) -> dict[str, Any]:
    """What became of a question about quota."""
    return {
        "asked_at": asked.at,
        "not_before": asked.not_before,
        "told": asked.windows is not None,
        **({"error": asked.error} if asked.error else {}),
    }
