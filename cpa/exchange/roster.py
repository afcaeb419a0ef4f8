"""Keep the account pool and the catalogue in step with the configuration and the auth directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from cpa.accounts.account import Account
from cpa.accounts.pool import AccountPool
from cpa.catalog.builtin import builtin_models
from cpa.catalog.catalog import Catalog
from cpa.catalog.offer import ModelAlias, with_aliases, with_prefix, without_excluded
from cpa.config import Config
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import Provider

LARGEST_AUTH_FILE = 1024 * 1024


class Roster:
    """Derives accounts and their models; changes only what differs."""

    def __init__(self, plugins: Plugins, pool: AccountPool, catalog: Catalog, log: Any) -> None:
        self._plugins = plugins
        self._pool = pool
        self._catalog = catalog
        self._log = log
        self._offered: dict[str, tuple[Any, ...]] = {}

    def sync(self, config: Config) -> None:
        """Make pool and catalogue what the configuration and the auth directory say."""
        self._pool.cooling = not config.disable_cooling
        wanted: dict[str, tuple[Account, Provider]] = {}
        for provider in self._plugins.providers:
            for account in self._accounts_of(provider, config):
                wanted[account.id] = (account, provider)
        for account_id in [account.id for account in self._pool if account.id not in wanted]:
            self._pool.remove(account_id)
            self._catalog.unregister(account_id)
            self._offered.pop(account_id, None)
        for account, provider in wanted.values():
            self._take(account, provider, config)

    def _accounts_of(self, provider: Provider, config: Config) -> Iterator[Account]:
        try:
            yield from provider.accounts_from_config(config)
            for path, data in _auth_files(Path(config.auth_dir)):
                yield from provider.accounts_from_file(str(path), data) or ()
        except Exception:
            self._log.exception("provider cannot derive its accounts", provider=provider.name)

    def _take(self, account: Account, provider: Provider, config: Config) -> None:
        aliases = _aliases(account, config)
        excluded = (*account.excluded_models, *_excluded(account, config))
        described = (account, aliases, excluded, config.force_model_prefix)
        if self._offered.get(account.id) == described:
            return
        self._pool.put(account)
        self._offered[account.id] = described
        if account.disabled:
            self._catalog.unregister(account.id)
            return
        try:
            models = list(provider.models(account, builtin_models))
            for extra in self._plugins.implementations("cpa_models"):
                models.extend(extra(account=account) or ())
        except Exception:
            self._log.exception("provider cannot tell its models", provider=provider.name, account=account.id)
            models = []
        models = without_excluded(models, excluded)
        models = with_aliases(models, aliases)
        models = with_prefix(models, account.prefix, force=config.force_model_prefix)
        self._catalog.register(account.id, account.provider, models)


def _aliases(account: Account, config: Config) -> tuple[ModelAlias, ...]:
    if account.kind != "oauth":
        return ()
    entries = config.oauth_model_alias.get(account.provider, ())
    return tuple(ModelAlias(entry.name, entry.alias, bool(entry.fork)) for entry in entries)


def _excluded(account: Account, config: Config) -> tuple[str, ...]:
    return tuple(config.oauth_excluded_models.get(account.provider, ())) if account.kind == "oauth" else ()


def _auth_files(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The JSON objects in the auth directory; files that are none are skipped."""
    if not directory.is_dir():
        return
    for path in sorted(directory.glob("*.json")):
        try:
            if path.stat().st_size > LARGEST_AUTH_FILE:
                continue
            data = orjson.loads(path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            continue
        if isinstance(data, dict):
            yield path, data
