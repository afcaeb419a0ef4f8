"""Logins that are begun by one request, watched by others, and ended by a browser that comes back: by their state.

Nothing is handed over through files: a callback resolves the login that waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

from cpa.accounts.login.callback import Callback
from cpa.accounts.login.device import DeviceCode
from cpa.accounts.login.pages import Outcome
from cpa.errors import LoginError
from cpa.exchange.auth_files import AuthFiles
from cpa.exchange.callback_forwarder import CallbackForwarder
from cpa.exchange.login_flow import CALLBACK_SECONDS, LoginFlow
from cpa.plugins.http_client import HttpClient
from cpa.plugins.login import Choice, LoginOptions
from cpa.plugins.manager import Plugins
from cpa.plugins.provider import Provider

PENDING_SECONDS = 600.0
"""A login that is not finished by then is given up; one by code has as long as its code."""
REMEMBERED_SECONDS = 60.0
"""For so long a late question still hears that a login succeeded."""
MOST_PENDING = 50

SessionStatus: TypeAlias = Literal["wait", "ok", "error", "unknown"]


class LoginSession(Struct, kw_only=True):
    """One login. ``flow.state`` is its name."""

    provider: Provider
    flow: LoginFlow
    ends: float
    """When it is given up, or forgotten once it is finished."""
    url: str = ""
    code: DeviceCode | None = None
    error: LoginError | None = None
    finished: bool = False
    task: asyncio.Task[None] | None = None

    @property
    def state(self) -> str:
        """The state that was sent with the browser."""
        return self.flow.state


class LoginSessions:
    """The logins of one daemon. Belongs to the event loop; ``close`` ends what is still going on.

    ``origin`` gives ``http://127.0.0.1:<port>`` of the daemon, where the callback pages are; ``clock`` seconds.
    """

    def __init__(
        self,
        *,
        files: AuthFiles,
        plugins: Plugins,
        http: HttpClient,
        log: Any,
        origin: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
        callback_seconds: float = CALLBACK_SECONDS,
    ) -> None:
        self._files = files
        self._plugins = plugins
        self._http = http
        self._log = log
        self._clock = clock
        self._callback_seconds = callback_seconds
        self._forwarder = CallbackForwarder(origin)
        self._sessions: dict[str, LoginSession] = {}
        self._ending: set[asyncio.Task[None]] = set()

    async def begin(self, provider: Provider, options: LoginOptions, *, forward_to: str = "") -> LoginSession:
        """Begin a login; returns once there is a page to open.

        ``forward_to`` is the callback page on the daemon's port to which a listener on the provider's own port sends
        the browser; without it somebody has to paste the address. Raises LoginError when the login cannot begin.
        """
        self._forget()
        if sum(not session.finished for session in self._sessions.values()) >= MOST_PENDING:
            raise LoginError("too_many", "too many logins are waiting: finish or cancel one first")
        host = _Waiting(self._forwarder, forward_to)
        flow = LoginFlow(
            provider,
            options,
            http=self._http,
            host=host,
            files=self._files,
            plugins=self._plugins,
            callback_seconds=self._callback_seconds,
        )
        session = LoginSession(provider=provider, flow=flow, ends=self._clock() + PENDING_SECONDS)
        task = session.task = asyncio.create_task(self._run(session))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        self._sessions[session.state] = session
        waiting: list[asyncio.Future[Any]] = [task, host.shown]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not host.shown.done():
            host.shown.cancel()
            self._sessions.pop(session.state, None)
            raise session.error or LoginError("cancelled", "the login ended before it began")
        session.url, session.code = host.shown.result()
        if session.code is not None:
            session.ends = max(session.ends, self._clock() + session.code.expires_in + REMEMBERED_SECONDS)
        return session

    async def _run(self, session: LoginSession) -> None:
        provider = session.provider.name
        try:
            stored = await session.flow.run()
        except LoginError as fault:
            session.error = fault
            unexpected = fault.code == "provider_failed"
            self._log.warning(
                "login failed", provider=provider, reason=str(fault), code=fault.code, exc_info=unexpected
            )
        except asyncio.CancelledError:
            session.error = LoginError("cancelled", "the login was cancelled")
        else:
            session.ends = self._clock() + REMEMBERED_SECONDS
            self._log.info("logged in", provider=provider, file=stored.file.name, created=stored.created)
        finally:
            session.finished = True

    def find(self, state: str) -> LoginSession | None:
        """The login of a state, finished or not; None when it is not known (any more)."""
        self._forget()
        return self._sessions.get(state)

    def status(self, state: str) -> SessionStatus:
        """How a login fares."""
        session = self.find(state)
        if session is None:
            return "unknown"
        if not session.finished:
            return "wait"
        return "error" if session.error is not None else "ok"

    async def page(self, provider: Provider, callback: Callback) -> Outcome:
        """Take a browser's callback; what to show it. Only the first callback of a login that waits for one counts."""
        session = self.find(callback.state)
        if session is None or session.finished or session.provider is not provider:
            return "unknown"
        if not session.flow.deliver(callback):
            return "unknown"
        return await session.flow.outcome()

    def cancel(self, state: str) -> bool:
        """Give a login up; False when there is none that is going on."""
        session = self.find(state)
        if session is None or session.finished or session.task is None:
            return False
        self._sessions.pop(state)
        session.task.cancel()
        return True

    async def close(self) -> None:
        """Give every login up."""
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._forwarder.close()

    def _forget(self) -> None:
        now = self._clock()
        for state in [state for state, session in self._sessions.items() if session.ends <= now]:
            session = self._sessions.pop(state)
            if session.task is not None:
                session.task.cancel()


class _Waiting:
    """Stands for somebody who is told a URL and comes back through a browser, or pastes its address."""

    def __init__(self, forwarder: CallbackForwarder, forward_to: str) -> None:
        self._forwarder = forwarder
        self._forward_to = forward_to
        self.shown: asyncio.Future[tuple[str, DeviceCode | None]] = asyncio.get_running_loop().create_future()

    @asynccontextmanager
    async def receiving(self, flow: LoginFlow, redirect_uri: str) -> AsyncIterator[None]:
        """Forward what comes to the provider's own port."""
        if not self._forward_to:
            yield
            return
        parts = urlsplit(redirect_uri)
        async with self._forwarder.forwarding(parts.port or 80, parts.path, self._forward_to):
            yield

    async def show_page(self, url: str) -> None:
        """Hand the URL over."""
        if not self.shown.done():
            self.shown.set_result((url, None))

    async def show_code(self, code: DeviceCode) -> None:
        """Hand page and code over."""
        if not self.shown.done():
            self.shown.set_result((code.page, code))

    async def choose(self, question: str, choices: Sequence[Choice], default: str) -> str:
        """Nobody can be asked."""
        return default

    def progress(self, text: str) -> None:
        """Nobody is told."""
