"""Enable or disable a key of the configuration: a key that excludes every model serves nothing."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from cpa.accounts.account import Account
from cpa.management.account_lookup import place_in_config
from cpa.management.answers import Refusal, ok
from cpa.management.lists import store, stored
from cpa.management.services import Management

EVERYTHING = "*"


async def set_key_status(
    management: Management, request: web.Request, account: Account, disabled: bool
) -> web.Response:
    """Add or remove ``*`` in ``excluded-models`` of the account's entry; all keys of that entry follow."""
    place = place_in_config(account)
    if place is None:
        raise Refusal(404, "auth file not found")
    section, position = place
    seen = getattr(management.config, section.replace("-", "_"))[position]

    def change(data: dict[str, Any]) -> None:
        entries = stored(data, section)
        entry = entries[position] if position < len(entries) else None
        if not isinstance(entry, dict) or not _same(entry, seen):
            raise Refusal(409, "conflict", "the configuration was changed meanwhile; try again")
        patterns = [pattern for pattern in entry.get("excluded-models") or () if pattern != EVERYTHING]
        entries[position] = {**entry, "excluded-models": [*patterns, EVERYTHING] if disabled else patterns}
        if not entries[position]["excluded-models"]:
            del entries[position]["excluded-models"]
        store(data, section, entries)

    await management.writer.edit(request, change)
    return ok(disabled=disabled, via="config:excluded-models", excluded_pattern=EVERYTHING)


def _same(entry: dict[str, Any], seen: Any) -> bool:
    """Whether the file's entry is the one the account was made from."""
    known = (getattr(seen, "api_key", ""), getattr(seen, "name", ""), seen.base_url)
    found = (str(entry.get("api-key") or ""), str(entry.get("name") or ""), str(entry.get("base-url") or ""))
    return all(one.strip().rstrip("/") == other.rstrip("/") for one, other in zip(found, known, strict=True))
