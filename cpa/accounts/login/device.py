"""Logins by a code that is typed in elsewhere (RFC 8628)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from msgspec import Struct

from cpa.accounts.login.callback import printable, refused
from cpa.errors import LoginError, OAuthError

SHORTEST_INTERVAL = 5.0
"""Seconds between two questions at least; also what ``slow_down`` adds."""
LONGEST_INTERVAL = 60.0
LONGEST_WAIT = 900.0
"""Seconds after which a code is given up, whatever its server says."""

Granted = TypeVar("Granted")


class DeviceCode(Struct, frozen=True, kw_only=True):
    """What is shown to somebody who logs in."""

    verification_uri: str
    """The page to open."""
    user_code: str
    """What to type there."""
    verification_uri_complete: str = ""
    """The page with the code filled in, if there is one."""
    interval: float = SHORTEST_INTERVAL
    expires_in: float = LONGEST_WAIT

    @property
    def page(self) -> str:
        """The page to open in a browser."""
        return self.verification_uri_complete or self.verification_uri


def seconds_in(value: Any, default: float) -> float:
    """Seconds as servers write them: a number or its text; ``default`` for what is neither or not positive."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else default
    except ValueError:
        return default
    return seconds if 0 < seconds < 1e9 else default


def device_code_of(answer: Mapping[str, Any], *, page: str = "") -> DeviceCode:
    """The code in a server's answer; ``page`` where the answer names none. Raises LoginError."""

    def text(*names: str) -> str:
        values = (answer.get(name) for name in names)
        return printable(next((value for value in values if isinstance(value, str) and value.strip()), ""), 2000)

    code = DeviceCode(
        verification_uri=_web(text("verification_uri", "verification_url") or page),
        verification_uri_complete=_web(text("verification_uri_complete")),
        user_code=text("user_code", "usercode"),
        interval=max(seconds_in(answer.get("interval"), SHORTEST_INTERVAL), SHORTEST_INTERVAL),
        expires_in=min(seconds_in(answer.get("expires_in"), LONGEST_WAIT), LONGEST_WAIT),
    )
    if not code.user_code or not code.page:
        raise LoginError("bad_answer", "the authorization server gave no code to type in")
    return code


def _web(url: str) -> str:
    return url if url.lower().startswith(("https://", "http://")) else ""


async def poll(
    code: DeviceCode,
    ask: Callable[[], Awaitable[Granted | None]],
    *,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Granted:
    """Ask until the code was confirmed; what ``ask`` gave then.

    ``ask`` gives None while it was not, or raises OAuthError with the code ``authorization_pending`` or ``slow_down``.
    Network faults and 5xx are waited out, ever longer. Raises LoginError for every other end, ``expired_token`` when
    the time is up.
    """
    interval, deadline = code.interval, clock() + code.expires_in
    while True:
        await sleep(min(interval, max(deadline - clock(), 0.0)))
        if clock() >= deadline:
            raise LoginError("expired_token", "the code was not confirmed in time: start again")
        try:
            granted = await ask()
        except OAuthError as fault:
            interval = _after(fault, interval)
        else:
            if granted is not None:
                return granted


def _after(fault: OAuthError, interval: float) -> float:
    """The next interval after an answer that is no grant. Raises LoginError when there is nothing to wait for."""
    if fault.code == "authorization_pending":
        return interval
    if fault.code == "slow_down" or fault.status == 429:
        return min(max(interval + SHORTEST_INTERVAL, fault.retry_after or 0.0), LONGEST_INTERVAL)
    if fault.code == "expired_token":
        raise LoginError("expired_token", "the code has expired: start again")
    if fault.code == "access_denied":
        raise refused("access_denied")
    if fault.status == 0 or fault.status >= 500:
        return min(interval * 2, LONGEST_INTERVAL)
    raise LoginError(fault.code or "code_exchange_failed", str(fault))
