"""Keep logins alive: refresh them ahead of time, and on demand when a token has expired or was refused.

One refresh of a login at a time, over all tasks and all processes that share the auth directory. What a refresh
brings is on disk before it is used.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from msgspec import Struct

from cpa.accounts.account import Account
from cpa.accounts.file_fields import expires_at
from cpa.accounts.files import AuthFile, JsonObject
from cpa.accounts.pool import AccountPool
from cpa.accounts.refresh import (
    STILL_DUE,
    LoginState,
    RefreshSchedule,
    access_token_of,
    has_expired,
    refresh_token_of,
)
from cpa.errors import AuthFileError, AuthFileMissing, ErrorInfo, OAuthError, PluginError, UpstreamError
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.roster import Roster
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import HttpClient

WORKERS = 16
"""Refreshes ahead of time that run at once, unless ``auth-auto-refresh-workers`` says otherwise."""
LONGEST_SLEEP = 60.0
"""Seconds after which the clock is looked at again: it may have been set, or the machine have slept."""
LONGEST_REFRESH = 150.0
"""Seconds one refresh may take, whatever its provider does."""
LONGEST_WAIT = 45.0
"""Seconds a client's request waits for a refresh before it goes on without."""
SAVE_AGAIN = 15.0
"""Seconds between two attempts to write tokens that could not be written."""
STOP_GRACE = 10.0
"""Seconds running refreshes are given at the end: what they bring may not come a second time."""
LOGIN_AGAIN_COOLDOWN = 1800.0
RETRY_COOLDOWN = 30.0
"""Seconds an account is left alone whose token was refused and could not be refreshed for now."""


class _Unsaved(Struct):
    """Tokens that are in force but not on disk."""

    consumed: str
    """The refresh token they were got with."""
    changes: JsonObject


class Renewals:
    """Refreshes the logins of the auth directory. Belongs to the event loop; ``run`` and ``stop`` own its tasks.

    ``wall`` gives Unix seconds, ``workers`` how many refreshes ahead of time may run at once (0: the default).
    """

    def __init__(
        self,
        *,
        files: AuthFiles,
        roster: Roster,
        plugins: Plugins,
        http: HttpClient,
        log: Any,
        workers: Callable[[], int] = lambda: 0,
        wall: Callable[[], float] = time.time,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._files = files
        self._roster = roster
        self._plugins = plugins
        self._http = http
        self._log = log
        self._workers = workers
        self._wall = wall
        self._schedule = RefreshSchedule(uniform)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ahead: set[str] = set()
        self._unsaved: dict[str, _Unsaved] = {}
        self._changed = asyncio.Event()
        self._stopping = False
        self.results: Counter[tuple[str, str]] = Counter()
        """Refreshes since the start, by provider and ``success``, ``failure`` or ``login_again``."""
        roster.subscribe(self._follow)

    # -- what others ask ---------------------------------------------------------------------------------------

    def state(self, account: Account) -> LoginState | None:
        """How the refreshing of an account's login fares; None for an account that is never refreshed."""
        return self._schedule.state(_name(account))

    async def ready(self, account: Account) -> Account:
        """The account with a token that has not expired, refreshed if need be.

        A token that may still work although our clock says otherwise is given when the refresh fails for now. Raises
        UpstreamError when only another login helps.
        """
        if account.kind != "oauth" or not self._is_stale(account):
            return account
        renewed = await self.renew(account)
        if renewed is not None:
            return renewed
        state = self.state(account)
        if state is not None and state.login_again:
            raise _login_again(account, state)
        return self._current(account) or account

    async def renew(self, account: Account) -> Account | None:
        """The account with another token than the one it has, which was refused or has expired; None without one.

        Many callers share one refresh; one that is cancelled does not cancel it.
        """
        for _ in range(2):
            current = self._current(account)
            if current is None or current.secret != account.secret:
                return current
            name = _name(account)
            state = self._schedule.state(name)
            busy = self._running.get(name)
            if state is None or state.login_again or not self._refreshable(current):
                return None
            if busy is None and (state.blocked(self._wall()) or self._stopping):
                return None
            task = busy or self._begin(name, refused=account.secret)
            try:
                async with asyncio.timeout(LONGEST_WAIT):
                    await asyncio.shield(task)
            except TimeoutError:
                return None
        current = self._current(account)
        return current if current is not None and current.secret != account.secret else None

    def blame(self, pool: AccountPool, account: Account, model: str, failure: UpstreamError) -> None:
        """Hold a refused login against the account: for long when only another login helps, else not for long."""
        state = self.state(account)
        hopeless = state is None or state.login_again or not self._refreshable(account)
        seconds = failure.cooldown if hopeless else RETRY_COOLDOWN
        message = state.trouble if state is not None and state.login_again else failure.error.message
        pool.fail(account.id, model, scope="account", reason="unauthorized", seconds=seconds, message=message)

    # -- ahead of time -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Refresh what is due until cancelled."""
        saving = 0.0
        while True:
            self._changed.clear()
            now = self._wall()
            while len(self._ahead) < (self._workers() or WORKERS) and (name := self._schedule.take(now)) is not None:
                if name not in self._running:
                    self._ahead.add(name)
                    self._begin(name, refused=None)
            if self._unsaved and now >= saving:
                await self._save_again()
                saving = now + SAVE_AGAIN
            try:
                async with asyncio.timeout(self._pause(now)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def stop(self) -> None:
        """Let running refreshes end, not for long; begin none any more."""
        self._stopping = True
        tasks = list(self._running.values())
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_GRACE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._save_again()

    def _pause(self, now: float) -> float:
        moment = self._schedule.next_moment()
        pause = LONGEST_SLEEP if moment is None else min(max(moment - now, 0.0), LONGEST_SLEEP)
        if len(self._ahead) >= (self._workers() or WORKERS):
            pause = LONGEST_SLEEP
        return min(pause, SAVE_AGAIN) if self._unsaved else pause

    # -- one refresh -------------------------------------------------------------------------------------------

    def _begin(self, name: str, refused: str | None) -> asyncio.Task[None]:
        self._schedule.begin(name)
        task = asyncio.create_task(self._refresh(name, refused))
        self._running[name] = task
        task.add_done_callback(lambda done: self._ended(name))
        return task

    def _ended(self, name: str) -> None:
        self._running.pop(name, None)
        self._ahead.discard(name)
        self._schedule.put_off(name)
        self._changed.set()

    async def _refresh(self, name: str, refused: str | None) -> None:
        """Refresh a login, or take over what another process has refreshed. Records the outcome, raises nothing."""
        known = self._primary(name)
        before = refused if refused is not None else (known.secret if known is not None else "")
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(LONGEST_REFRESH):
                    await stack.enter_async_context(self._files.lock(name))
                await self._files.check([name])
                account = self._primary(name)
                if account is None or not self._refreshable(account):
                    self._schedule.forget(name)
                    return
                if self._renewed_elsewhere(account, before):
                    self._log.info("login was refreshed by another process", file=name)
                else:
                    await self._call(name, account)
                    self._log.info("login refreshed", file=name, provider=account.provider)
        except OAuthError as fault:
            if await self._settled_elsewhere(name, before, fault):
                return
            self._failed(name, str(fault), terminal=fault.terminal, retry_after=fault.retry_after)
        except UpstreamError as fault:
            self._failed(name, fault.error.message, retry_after=fault.error.retry_after)
        except TimeoutError:
            self._failed(name, f"no answer within {LONGEST_REFRESH:.0f} seconds")
        except (AuthFileError, PluginError) as fault:
            self._failed(name, str(fault))
        except Exception as fault:
            self._log.exception("provider cannot refresh a login", file=name)
            self._failed(name, type(fault).__name__)
        else:
            self._succeeded(name)

    async def _call(self, name: str, account: Account) -> None:
        async with asyncio.timeout(LONGEST_REFRESH):
            changes = await self._plugins.provider_of(account).refresh(account, self._http)
        if not changes:
            raise OAuthError("the provider had nothing to refresh", status=0)
        await self._keep(name, account, changes)

    async def _keep(self, name: str, account: Account, changes: JsonObject) -> None:
        """Write what a refresh brought, then use it. Only what it brought is changed in the file."""
        consumed = refresh_token_of(account.metadata)
        self._unsaved.pop(name, None)
        try:
            await self._files.update(name, lambda data: merged(data, consumed, changes))
        except AuthFileMissing:
            self._log.warning("login was deleted while it was refreshed", file=name)
        except (AuthFileError, OSError) as fault:
            self._log.error("refreshed tokens cannot be written, they are kept in memory", file=name, reason=str(fault))
            self._unsaved[name] = _Unsaved(consumed, changes)
            self._apply_unsaved(name)

    def _renewed_elsewhere(self, account: Account, before: str) -> bool:
        return bool(account.secret) and account.secret != before and not has_expired(account.metadata, self._wall())

    async def _settled_elsewhere(self, name: str, before: str, fault: OAuthError) -> bool:
        """Whether a program that does not know our lock was faster: then its tokens are taken."""
        if not fault.terminal:
            return False
        await self._files.check([name])
        account = self._primary(name)
        if account is None or not self._renewed_elsewhere(account, before):
            return False
        self._succeeded(name)
        return True

    def _count(self, name: str, result: str) -> None:
        account = self._primary(name)
        self.results[account.provider if account is not None else "", result] += 1

    def _succeeded(self, name: str) -> None:
        self._count(name, "success")
        now = self._wall()
        self._schedule.succeeded(name, self._due(name, now), now)

    def _failed(self, name: str, reason: str, *, terminal: bool = False, retry_after: float | None = None) -> None:
        self._count(name, "login_again" if terminal else "failure")
        self._schedule.failed(name, reason, self._wall(), terminal=terminal, retry_after=retry_after)
        advice = "log in again" if terminal else "it is tried again later"
        self._log.warning("login could not be refreshed", file=name, reason=reason, advice=advice)

    # -- tokens that could not be written ------------------------------------------------------------------------

    def _apply_unsaved(self, name: str) -> None:
        """Put tokens in force that are not on disk."""
        unsaved, file = self._unsaved.get(name), self._roster.files.get(name)
        if unsaved is None or file is None:
            return
        data = merged(file.data, unsaved.consumed, unsaved.changes)
        self._roster.apply_file(AuthFile(file.name, file.path, data, f"unsaved {time.monotonic_ns()}"))

    async def _save_again(self) -> None:
        for name, unsaved in list(self._unsaved.items()):
            try:
                await self._files.update(
                    name,
                    lambda data, kept=unsaved: merged(data, kept.consumed, kept.changes),  # type: ignore[misc]
                )
            except AuthFileMissing:
                self._unsaved.pop(name, None)
            except (AuthFileError, OSError):
                continue
            else:
                self._unsaved.pop(name, None)
                self._log.info("refreshed tokens are written now", file=name)

    # -- following the auth directory ----------------------------------------------------------------------------

    def _follow(self, old: Account | None, new: Account | None) -> None:
        """An account came, changed or went: plan its login anew, which ends whatever stood against it."""
        account = new or old
        if account is None or account.kind != "oauth" or account.settings.get("parent"):
            return
        name = _name(account)
        if new is None:
            self._schedule.forget(name)
            return
        unsaved = self._unsaved.get(name)
        if unsaved is not None and _is_older(new.metadata, unsaved):
            asyncio.get_running_loop().call_soon(self._apply_unsaved, name)
        if name not in self._running:
            self._schedule.plan(name, self._due_of(new), self._wall())
            self._changed.set()

    def _due(self, name: str, now: float) -> float | None:
        """When a login that was just refreshed wants it next; a short-lived token at half of its life."""
        account = self._primary(name)
        due = self._due_of(account) if account is not None else None
        if account is None or due is None or due > now:
            return due
        expiry = expires_at(account.metadata)
        return now + max(STILL_DUE, (expiry - now) / 2 if expiry is not None else 0.0)

    def _due_of(self, account: Account) -> float | None:
        if not self._roster.serving(account.id) or _switched_off(account):
            return None
        try:
            return self._plugins.provider_of(account).refresh_at(account)
        except Exception:
            self._log.exception("provider cannot tell when to refresh", account=account.id)
            return None

    def _primary(self, name: str) -> Account | None:
        """The account a file's login is refreshed through: its only one, or the parent of its projects."""
        return next(iter(self._roster.accounts_of(name)), None)

    def _current(self, account: Account) -> Account | None:
        """The account as it is now."""
        accounts = self._roster.accounts_of(_name(account))
        return next((known for known in accounts if known.id == account.id), None)

    def _is_stale(self, account: Account) -> bool:
        return (not account.secret or has_expired(account.metadata, self._wall())) and self._refreshable(account)

    def _refreshable(self, account: Account) -> bool:
        try:
            return self._plugins.provider_of(account).can_refresh(account)
        except PluginError:
            return False


def merged(data: JsonObject, consumed: str, changes: JsonObject) -> JsonObject:
    """An auth file's members with what a refresh changed, unless it holds another login by now.

    Everything else in it stays; inside ``token`` too.
    """
    if refresh_token_of(data) != consumed:
        return data
    fresh = {
        name: {**data[name], **value} if isinstance(value, dict) and isinstance(data.get(name), dict) else value
        for name, value in changes.items()
    }
    return {**data, **fresh}


def _is_older(data: JsonObject, unsaved: _Unsaved) -> bool:
    return refresh_token_of(data) == unsaved.consumed and access_token_of(data) != access_token_of(unsaved.changes)


def _switched_off(account: Account) -> bool:
    """Disabled by its user; the parent of several projects serves nothing either, but its login is in use."""
    return account.disabled and "children" not in account.settings


def _name(account: Account) -> str:
    return os.path.basename(account.source)


def _login_again(account: Account, state: LoginState) -> UpstreamError:
    error = ErrorInfo(
        401,
        f"the login of {account.label} is over: {state.last_error}. Log in again: cpa login {account.provider}",
        type="authentication_error",
        code="login_required",
    )
    return UpstreamError(error, scope="account", cooldown=LOGIN_AGAIN_COOLDOWN, reason="unauthorized")
