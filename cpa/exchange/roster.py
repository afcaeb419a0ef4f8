"""Keep the account pool and the catalogue in step with the configuration and the auth files, account by account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from cpa.accounts.account import Account, account_index
from cpa.accounts.file_fields import file_account, provider_of
from cpa.accounts.files import AuthDirectory, AuthFile
from cpa.accounts.pool import AccountPool
from cpa.catalog.builtin import builtin_models
from cpa.catalog.catalog import Catalog
from cpa.catalog.model import Model
from cpa.catalog.offer import ModelAlias, aliases_of, preferred_aliases
from cpa.catalog.shaping import Shaper
from cpa.config import Config
from cpa.durations import seconds_of
from cpa.exchange.announcer import Announcer
from cpa.exchange.model_routes import route_models
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import Provider

Subscriber: TypeAlias = Callable[[Account | None, Account | None], None]
"""``subscriber(old, new)``: an account came (old is None), changed or went (new is None)."""
AT_ONCE = 500
"""Auth files looked through again within a configuration change; more of them wait for ``settle``."""
_CONFIG, _RUNTIME = "", "/"
"""Owners of accounts that no file owns; no file has such a name."""


class _Entry(Struct):
    """One account and where it comes from."""

    account: Account
    provider: Provider | None
    """None when no plugin serves it."""
    owner: str


class Roster:
    """Derives accounts and their models, and changes only what differs. Belongs to the event loop."""

    def __init__(
        self,
        plugins: Plugins,
        pool: AccountPool,
        catalog: Catalog,
        log: Any,
        announcer: Announcer | None = None,
    ) -> None:
        self._plugins = plugins
        self._pool = pool
        self._catalog = catalog
        self._log = log
        self._announcer = announcer
        self._config: Config | None = None
        self._shaper = Shaper()
        self._entries: dict[str, _Entry] = {}
        self._owned: dict[str, tuple[str, ...]] = {}
        self._files: dict[str, AuthFile] = {}
        self._stale: dict[str, None] = {}
        self._subscribers: list[Subscriber] = []
        self.unsettled = asyncio.Event()
        """Set while auth files wait for ``settle``."""

    def subscribe(self, subscriber: Subscriber) -> None:
        """Hear of every account that comes, changes or goes from now on. What a subscriber raises is logged."""
        self._subscribers.append(subscriber)

    def sync(self, config: Config) -> dict[str, str]:
        """Make pool and catalogue what the configuration and its auth directory say; reads every file (blocks).

        Returns why files could not be used, by name. Raises AuthFileError when the directory cannot be read.
        """
        self.apply_config(config)
        unusable: dict[str, str] = {}
        directory = AuthDirectory(Path(config.auth_dir))
        found = {file.name: file for file in directory.scan(unusable.__setitem__)}
        for name in [name for name in self._files if name not in found]:
            self.drop_file(name)
        for file in found.values():
            self.apply_file(file)
        while self.settle(AT_ONCE):
            pass
        return unusable

    def apply_config(self, config: Config) -> None:
        """Put a configuration in force. Accounts of many auth files follow with ``settle``."""
        self._config = config
        self._shaper.renew()
        self._pool.cooling = not config.disable_cooling
        self._pool.concurrency = config.routing.account_concurrency
        self._pool.probe_interval = seconds_of(config.routing.probe_interval) or 0.0
        self._pool.keep_reserve(config.routing.quota_reserve)
        self._catalog.name_routes(route_models(config))
        wanted: list[tuple[Account, Provider | None]] = []
        for provider in self._plugins.providers:
            try:
                wanted.extend([(account, provider) for account in provider.accounts_from_config(config)])
            except Exception:
                self._log.exception("provider cannot derive its accounts", provider=provider.name)
                known = (self._entries[account_id] for account_id in self._owned.get(_CONFIG, ()))
                wanted.extend((entry.account, provider) for entry in known if entry.provider is provider)
        self._own(_CONFIG, wanted)
        self._own(_RUNTIME, [(entry.account, entry.provider) for entry in self._entries_of(_RUNTIME)])
        self._stale = dict.fromkeys(self._files)
        self.settle(AT_ONCE)

    def settle(self, limit: int) -> bool:
        """Derive up to ``limit`` auth files anew after a configuration change; whether more are waiting."""
        for name in list(self._stale)[:limit]:
            self._derive(self._files[name])
        if self._stale:
            self.unsettled.set()
        else:
            self.unsettled.clear()
        return bool(self._stale)

    def apply_file(self, file: AuthFile) -> bool:
        """Take an auth file as it is now; False when it is known already, so that our own writes change nothing."""
        known = self._files.get(file.name)
        if known is not None and known.digest == file.digest:
            return False
        self._files[file.name] = file
        self._derive(file)
        return True

    def drop_file(self, name: str) -> bool:
        """Forget the accounts of a deleted auth file; whether it was known. Running exchanges end as they began."""
        if self._files.pop(name, None) is None:
            return False
        self._stale.pop(name, None)
        self._own(name, [])
        return True

    def put_runtime(self, account: Account) -> None:
        """Add or replace an account that exists only while something is connected; reloads leave it alone."""
        others = [(entry.account, entry.provider) for entry in self._entries_of(_RUNTIME)]
        kept = [(known, provider) for known, provider in others if known.id != account.id]
        self._own(_RUNTIME, [*kept, (account, self._plugins.provider_of(account))])

    def drop_runtime(self, account_id: str) -> None:
        """Remove an account that ``put_runtime`` added."""
        others = [(entry.account, entry.provider) for entry in self._entries_of(_RUNTIME)]
        self._own(_RUNTIME, [(known, provider) for known, provider in others if known.id != account_id])

    @property
    def files(self) -> Mapping[str, AuthFile]:
        """The auth files in force by name (read only)."""
        return self._files

    def accounts_of(self, name: str) -> list[Account]:
        """The accounts an auth file yields."""
        return [entry.account for entry in self._entries_of(name)]

    def serving(self, account_id: str) -> bool:
        """Whether a plugin serves the account."""
        entry = self._entries.get(account_id)
        return entry is not None and entry.provider is not None

    def _entries_of(self, owner: str) -> Iterator[_Entry]:
        return (self._entries[account_id] for account_id in self._owned.get(owner, ()))

    def _derive(self, file: AuthFile) -> None:
        self._stale.pop(file.name, None)
        for provider in self._plugins.providers:
            try:
                given = provider.accounts_from_file(str(file.path), file.data)
                accounts = None if given is None else list(given)
            except Exception:
                self._log.exception("provider cannot read an auth file", provider=provider.name, file=file.name)
                return
            if accounts is not None:
                self._own(file.name, [(account, provider) for account in accounts])
                return
        self._own(file.name, [(self._unserved(file), None)])

    def _unserved(self, file: AuthFile) -> Account:
        known = any(provider.name == provider_of(file.data) for provider in self._plugins.providers)
        reason = "what its provider needs is missing" if known else f"no plugin serves files of type {file.type!r}"
        if file.name not in self._owned:
            self._log.warning("auth file serves nothing", file=file.name, reason=reason)
        return file_account(str(file.path), file.data, settings={"unserved": reason})

    def _own(self, owner: str, wanted: Iterable[tuple[Account, Provider | None]]) -> None:
        """Make these the accounts of an owner."""
        accepted: dict[str, tuple[Account, Provider | None]] = {}
        for account, provider in wanted:
            entry = self._entries.get(account.id)
            if entry is not None and entry.owner != owner:
                self._log.warning("account left out, its id is taken", account=account.id, source=account.source)
            else:
                accepted[account.id] = (account, provider)
        for account_id in self._owned.get(owner, ()):
            if account_id not in accepted:
                self._remove(account_id)
        if accepted:
            self._owned[owner] = tuple(accepted)
        else:
            self._owned.pop(owner, None)
        for account, provider in accepted.values():
            self._take(account, provider, owner)

    def _remove(self, account_id: str) -> None:
        account = self._entries.pop(account_id).account
        self._pool.remove(account_id)
        self._withdraw(account)
        self._tell(account, None)

    def _take(self, account: Account, provider: Provider | None, owner: str) -> None:
        if not account.index:
            account = replace(account, index=account_index(f"id:{account.id}"))
        entry = self._entries.get(account.id)
        known = entry.account if entry is not None else None
        self._entries[account.id] = _Entry(account, provider, owner)
        if known != account:
            self._pool.put(account)
            if known is not None and known.disabled != account.disabled:
                self._pool.reset(account.id)
        if account.disabled or provider is None:
            self._withdraw(account)
        else:
            self._offer(account, provider)
        if known != account:
            self._tell(known, account)

    def _tell(self, old: Account | None, new: Account | None) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber(old, new)
            except Exception:
                self._log.exception("a follower of accounts failed")

    def _withdraw(self, account: Account) -> None:
        if self._catalog.unregister(account.id) and self._announcer is not None:
            self._announcer.unregistered(account)

    def _offer(self, account: Account, provider: Provider) -> None:
        config = self._config
        assert config is not None, "a configuration comes first"
        models = self._shaper.shape(
            self._models(account, provider),
            excluded=(*account.excluded_models, *_excluded(account, config)),
            aliases=_aliases(account, config),
            prefix=account.prefix,
            force_prefix=config.force_model_prefix,
        )
        standing = (account.priority, account.weight)
        if not self._catalog.register(account.id, account.provider, models, standing):
            return
        self._pool.health(account.id).keep({model.upstream or model.id for model in models})
        if self._announcer is not None:
            self._announcer.registered(account, models)

    def _models(self, account: Account, provider: Provider) -> list[Model]:
        try:
            models = list(provider.models(account, builtin_models))
        except Exception:
            self._log.exception("provider cannot tell its models", provider=provider.name, account=account.id)
            return []
        for more in self._plugins.implementations("cpa_models"):
            try:
                models.extend(more(account=account) or ())
            except Exception:
                self._log.exception("plugin cannot tell its models", account=account.id)
        return models


def _aliases(account: Account, config: Config) -> tuple[ModelAlias, ...]:
    if account.kind != "oauth":
        return ()
    entries = config.oauth_model_alias.get(account.provider, ())
    channel = tuple(
        ModelAlias(entry.name, entry.alias, bool(entry.fork), bool(entry.force_mapping), entry.display_name)
        for entry in entries
    )
    own = account.settings.get("model_aliases")
    return preferred_aliases(aliases_of(own), channel) if own else channel


def _excluded(account: Account, config: Config) -> tuple[str, ...]:
    return tuple(config.oauth_excluded_models.get(account.provider, ())) if account.kind == "oauth" else ()
