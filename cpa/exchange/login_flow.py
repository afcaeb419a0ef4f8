"""One login from its beginning to the file it is stored in, whoever watches: a terminal, the web panel, a test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from msgspec import Struct
from msgspec.structs import replace

from cpa.accounts.account import Account
from cpa.accounts.files import AuthFile
from cpa.accounts.login.callback import Callback, code_of, new_state
from cpa.accounts.login.device import DeviceCode, poll
from cpa.accounts.login.pages import Outcome, outcome_of
from cpa.accounts.login.stored import merged_login, place
from cpa.errors import AuthFileError, AuthFileExists, AuthFileMissing, CpaError, LoginError, OAuthError, UpstreamError
from cpa.exchange.auth_files import AuthFiles
from cpa.plugins.http_client import HttpClient
from cpa.plugins.login import Choice, Granted, Login, LoginOptions, NewLogin
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import Provider

CALLBACK_SECONDS = 300.0
"""How long a browser may take."""
LONGEST_LOGIN = 1500.0
"""Seconds after which a login is given up, whatever its provider waits for."""
PAGE_SECONDS = 25.0
"""How long a browser's page waits for what becomes of the login."""
_RACES = 3


class LoginHost(Protocol):
    """Where a login is shown, and how it is told what to do."""

    def receiving(self, flow: LoginFlow, redirect_uri: str) -> AbstractAsyncContextManager[None]:
        """Be ready for the callback, before the page is shown, until the end. Raises LoginError."""

    async def show_page(self, url: str) -> None:
        """Have a page opened."""

    async def show_code(self, code: DeviceCode) -> None:
        """Have a code typed in."""

    async def choose(self, question: str, choices: Sequence[Choice], default: str) -> str:
        """Ask; the chosen value."""

    def progress(self, text: str) -> None:
        """Say what is being done."""


class StoredLogin(Struct, frozen=True):
    """A login that is in force."""

    file: AuthFile
    new: NewLogin
    created: bool
    """Whether its file is new; else it was there before and has kept what the user set."""


class LoginFlow(Login):
    """Runs one login. Belongs to the event loop; ``run`` once."""

    def __init__(
        self,
        provider: Provider,
        options: LoginOptions,
        *,
        http: HttpClient,
        host: LoginHost,
        files: AuthFiles,
        plugins: Plugins | None = None,
        callback_seconds: float = CALLBACK_SECONDS,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = new_state()
        self.options = options
        self.http = _ProxiedHttp(http, Account(id="login", provider=provider.name, proxy_url=options.proxy))
        self.provider = provider
        self._host = host
        self._files = files
        self._plugins = plugins
        self._callback_seconds = callback_seconds
        self._sleep = sleep
        self._clock = clock
        self._receiving = AsyncExitStack()
        self._callback: asyncio.Future[Callback] = asyncio.get_running_loop().create_future()
        self._finished: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    async def run(self) -> StoredLogin:
        """Log in and store the login. Raises LoginError, also when it was cancelled by ``deliver``."""
        async with self._receiving:  # its browser still fetches a page when all is decided
            outcome: Outcome = "failed"
            try:
                async with asyncio.timeout(LONGEST_LOGIN):
                    new = await self._new_login()
                    self.progress("Storing the login")
                    stored = await store_login(self._files, self.provider, new, self.options)
                outcome = "success"
                return stored
            except TimeoutError:
                raise LoginError("callback_timeout", "the login took too long: start again") from None
            except LoginError as fault:
                outcome = outcome_of(fault.code)
                raise
            finally:
                self._finished.set_result(outcome)

    async def _new_login(self) -> NewLogin:
        try:
            return self._edited(await self.provider.login(self))
        except OAuthError as fault:
            raise LoginError(fault.code if fault.status == 0 else "code_exchange_failed", str(fault)) from fault
        except UpstreamError as fault:
            raise LoginError("network", fault.error.message) from fault
        except (CpaError, TimeoutError):
            raise
        except Exception as fault:
            raise LoginError("provider_failed", f"{self.provider.name} failed: {type(fault).__name__}") from fault

    def _edited(self, new: NewLogin) -> NewLogin:
        """The login as plugins want it."""
        data = new.data
        for edit in self._plugins.implementations("cpa_edit_login") if self._plugins is not None else ():
            try:
                data = edit(provider=self.provider.name, data=data) or data
            except ValueError as fault:
                raise LoginError("refused", str(fault)) from fault
        return new if data is new.data else replace(new, data=data)

    def deliver(self, callback: Callback) -> bool:
        """Take the callback; False when there was one before, which alone counts."""
        if self._callback.done():
            return False
        self._callback.set_result(callback)
        return True

    def fail(self, fault: LoginError) -> None:
        """End a login that waits for its callback: there will be none."""
        if not self._callback.done():
            self._callback.set_exception(fault)

    async def outcome(self) -> Outcome:
        """What became of the login, for its browser; ``received`` when that takes longer than a page can wait."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._finished), PAGE_SECONDS)
        except TimeoutError:
            return "received"

    # -- what providers use --------------------------------------------------------------------------------------

    def redirect_uri(self, registered: str, *, any_port: bool = False) -> str:
        """The registered one; with the port that was asked for, if the vendor takes any port."""
        if not any_port or not self.options.callback_port:
            return registered
        parts = urlsplit(registered)
        return urlunsplit(parts._replace(netloc=f"{parts.hostname}:{self.options.callback_port}"))

    async def authorize(self, url: str, redirect_uri: str) -> str:
        """Have a page opened and give the code that comes back. Raises LoginError."""
        await self._receiving.enter_async_context(self._host.receiving(self, redirect_uri))
        await self._host.show_page(url)
        try:
            async with asyncio.timeout(self._callback_seconds):
                callback = await self._callback
        except TimeoutError:
            minutes = self._callback_seconds / 60
            message = f"the browser did not come back within {minutes:.0f} minutes: start again"
            raise LoginError("callback_timeout", message) from None
        code = code_of(callback, self.state)
        self.progress("Exchanging the code for tokens")
        return code

    async def confirm(self, code: DeviceCode, ask: Callable[[], Awaitable[Granted | None]]) -> Granted:
        """Show a code and ask until it is confirmed. Raises LoginError."""
        await self._host.show_code(code)
        return await poll(code, ask, sleep=self._sleep, clock=self._clock)

    async def choose(self, question: str, choices: Sequence[Choice], *, default: str) -> str:
        """Ask whoever logs in."""
        return await self._host.choose(question, choices, default)

    def progress(self, text: str) -> None:
        """Say what is being done."""
        self._host.progress(text)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._sleep(seconds)


class _ProxiedHttp:
    """Sends everything through the login's proxy."""

    def __init__(self, http: HttpClient, account: Account) -> None:
        self._http = http
        self._account = account

    async def request(
        self,
        method: str,
        url: str,
        *,
        account: Account | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        timeout: float = 60.0,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """See :class:`cpa.plugins.HttpClient`."""
        sender = account or self._account
        return await self._http.request(method, url, account=sender, headers=headers, body=body, timeout=timeout)


async def store_login(files: AuthFiles, provider: Provider, new: NewLogin, options: LoginOptions) -> StoredLogin:
    """Write a login; its accounts serve at once. Raises LoginError (``save_failed``) when that cannot be done.

    A file the same login had before is written to again: tokens are replaced, what the user has set stays.
    """
    wanted = {"proxy_url": options.proxy.strip(), "prefix": options.prefix.strip().strip("/")}
    data = {**new.data, **{name: value for name, value in wanted.items() if value}}
    try:
        for _ in range(_RACES):  # another program may write or delete files meanwhile
            known = await asyncio.to_thread(lambda: list(files.directory.scan()))
            name = place(new.name, new.spare_name, data, provider.login_identity, known)
            try:
                if any(file.name == name for file in known):
                    return StoredLogin(await files.update(name, lambda old: merged_login(old, data)), new, False)
                return StoredLogin(await files.create(name, {**data, "disabled": False}), new, True)
            except (AuthFileExists, AuthFileMissing):
                continue
        return StoredLogin(await files.put(new.name, {**data, "disabled": False}), new, True)
    except AuthFileError as fault:
        raise LoginError("save_failed", f"the login cannot be stored: {fault}") from fault
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise LoginError("save_failed", f"the login cannot be stored in {files.directory.path}: {reason}") from fault
