"""The configuration as the API shows it: keys of the file, what is unset left out where panels expect that."""

from __future__ import annotations

from typing import Any

from cpa.accounts.pool import AccountPool
from cpa.config import Config
from cpa.config.client_secrets import without_client_secrets
from cpa.config.section import fields_of, to_plain
from cpa.management.account_lookup import index_of

HIDDEN = frozenset({"host", "port", "auth-dir", "remote-management", "home"})
"""Keys that decide who reaches the daemon; not shown."""
_ONLY_WHEN_SET = frozenset(
    {
        "nonstream-keepalive-interval",
        "antigravity-signature-cache-enabled",
        "antigravity-signature-bypass-strict",
        "oauth-excluded-models",
        "oauth-model-alias",
        "prompt-rules",
        "model-routes",
        "plugins",
    }
)
_ALWAYS_IN_ENTRY: dict[str, dict[str, Any]] = {
    "gemini-api-key": {"api-key": ""},
    "claude-api-key": {"api-key": "", "base-url": "", "proxy-url": "", "models": []},
    "codex-api-key": {"api-key": "", "base-url": "", "proxy-url": "", "models": []},
    "vertex-api-key": {"api-key": ""},
    "openai-compatibility": {"name": "", "disabled": False, "base-url": ""},
}


def shown_config(config: Config, pool: AccountPool) -> dict[str, Any]:
    """The whole configuration, without :data:`HIDDEN`."""
    known = fields_of(type(config))
    values = config.plain()
    shown = {
        key: value
        for key, value in values.items()
        if key in known and key not in HIDDEN and not (key in _ONLY_WHEN_SET and not value)
    }
    for key in _ALWAYS_IN_ENTRY:
        shown[key] = shown_entries(config, key, pool)
    if "plugins" in shown:
        shown["plugins"] = without_client_secrets(shown["plugins"])
    shown["api-keys"] = [key if isinstance(key, str) else key.key for key in config.api_keys]
    image = {"off": False, "all": True}
    shown["disable-image-generation"] = image.get(config.disable_image_generation, config.disable_image_generation)
    for key in ("prompt-rules", "oauth-model-alias", "model-routes", "payload"):
        if key in shown:
            shown[key] = to_plain(getattr(config, key.replace("-", "_")), sparse=True)
    return shown


def shown_entries(config: Config, key: str, pool: AccountPool) -> list[dict[str, Any]]:
    """The entries of a provider list, each with the ``auth-index`` of its live account."""
    accounts: dict[str, list[tuple[str, str]]] = {}
    for account in pool:
        if account.source.startswith(f"config:{key}["):
            index = index_of(account)
            accounts.setdefault(account.source, []).append((account.secret, index))
    entries = []
    for position, entry in enumerate(getattr(config, key.replace("-", "_"))):
        shown = {**_ALWAYS_IN_ENTRY[key], **entry.plain(sparse=True)}
        _add_indices(shown, accounts.get(f"config:{key}[{position}]", []))
        entries.append(shown)
    return entries


def _add_indices(shown: dict[str, Any], accounts: list[tuple[str, str]]) -> None:
    keys = shown.get("api-key-entries")
    if keys:
        by_secret = dict(accounts)
        for entry in keys:
            if index := by_secret.get(entry.get("api-key", "")):
                entry["auth-index"] = index
    elif accounts:
        shown["auth-index"] = accounts[0][1]
