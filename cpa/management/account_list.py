"""Every account there is, whatever it came from, as the API and the command line show it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from cpa.accounts.account import Account
from cpa.accounts.explain import Explanation
from cpa.accounts.file_fields import expires_at
from cpa.accounts.pool import AccountPool
from cpa.accounts.refresh import LoginState, refresh_token_of
from cpa.catalog.catalog import Catalog
from cpa.exchange.quota_query import Asked
from cpa.exchange.roster import Roster
from cpa.management.account_lookup import place_in_config
from cpa.management.auth_file_view import shown_account

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


def shown_explanation(explanation: Explanation, pool: Iterable[Account]) -> dict[str, Any]:
    """Why a model's requests go where they go, with the accounts that are not even looked at."""
    shown: dict[str, Any] = msgspec.to_builtins(explanation)
    named = {candidate.account_id for candidate in explanation.candidates}
    shown["left_out"] = [
        {"account_id": account.id, "label": own_label(account) or account.label, "because": because}
        for account in pool
        if account.id not in named and not account.settings.get("children") and (because := _idle_because(account))
    ]
    return shown


def _idle_because(account: Account) -> str:
    if account.disabled:
        return "disabled"
    return str(account.settings.get("unserved") or "")


def shown_asked(asked: Asked | None) -> dict[str, Any]:
    """What became of the last question to the vendor about an account's quota; {} when none was asked."""
    if asked is None:
        return {}
    return {
        "asked_at": asked.at,
        "not_before": asked.not_before,
        "told": asked.windows is not None,
        **({"error": asked.error} if asked.error else {}),
    }
