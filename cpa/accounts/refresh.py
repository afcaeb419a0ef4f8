"""When logins are refreshed: a plan by time, with jitter, back-off and an end for logins that are over.

Nothing here waits or calls anybody: times are Unix seconds and come in, so that a test can live through a year.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from cpa.accounts.file_fields import expires_at, last_refresh, refresh_interval

FIRST_BACKOFF = 300.0
LONGEST_BACKOFF = 3600.0
"""Seconds between two attempts ahead of time at a login whose refresh fails."""
SHORTEST_BLOCK = 5.0
LONGEST_BLOCK = 300.0
"""Seconds for which a failed refresh is not tried again on demand either."""
STILL_DUE = 30.0
"""Seconds at least between two refreshes that succeed."""
FEW = 64
"""So many plans that were replaced may wait for their time."""
LARGEST_JITTER = 300.0
"""Seconds by which a refresh may come early, so that logins of one hour are not all refreshed in one second."""


def refresh_token_of(data: Mapping[str, Any]) -> str:
    """The refresh token of an auth file, at the top level or inside ``token``; empty when it has none."""
    return _token(data, "refresh_token")


def access_token_of(data: Mapping[str, Any]) -> str:
    """The access token of an auth file, inside ``token`` or at the top level; empty when it has none."""
    return _token(data, "access_token")


def _token(data: Mapping[str, Any], member: str) -> str:
    for place in (data.get("token"), data):
        if isinstance(place, Mapping) and isinstance(value := place.get(member), str) and value.strip():
            return value.strip()
    return ""


def has_expired(data: Mapping[str, Any], now: float, slack: float = 10.0) -> bool:
    """Whether the access token has ended by our clock, or will within ``slack`` seconds; False when unknown."""
    expiry = expires_at(data)
    return expiry is not None and expiry - slack <= now


def refresh_due(data: Mapping[str, Any], lead: float | None) -> float | None:
    """When to refresh ahead of time, 0 for at once; None for never.

    A file's own cadence comes first; else ``lead`` seconds before the expiry, else ``lead`` after the last refresh.
    """
    expiry, last, cadence = expires_at(data), last_refresh(data), refresh_interval(data)
    if cadence is not None:
        if last is None:
            return 0.0
        return last + cadence if expiry is None else min(expiry - cadence, last + cadence)
    if lead is None:
        return None
    if expiry is not None:
        return max(0.0, expiry - lead)
    return last + lead if last is not None else 0.0


class LoginState(Struct):
    """How the refreshing of one login fares."""

    due: float | None = None
    """When it is refreshed next; None: not ahead of time."""
    failures: int = 0
    """In a row."""
    failed_at: float = 0.0
    blocked_until: float = 0.0
    """No call before, on demand neither."""
    last_error: str = ""
    login_again: bool = False
    """Only another login (a changed file) helps: no call any more."""
    refreshed_at: float | None = None

    def blocked(self, now: float) -> bool:
        """Whether it failed so lately that it is not to be called; a clock that was set back since blocks nothing."""
        return self.failed_at <= now < self.blocked_until

    @property
    def trouble(self) -> str:
        """What to tell the user; empty when all is well."""
        if self.login_again:
            return f"log in again: {self.last_error}"
        return f"refresh failed: {self.last_error}" if self.last_error else ""


class RefreshSchedule:
    """Logins by name, the next one due first. ``random`` gives numbers from 0 to 1."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._states: dict[str, LoginState] = {}
        self._heap: list[tuple[float, str]] = []
        self._running: set[str] = set()

    def state(self, name: str) -> LoginState | None:
        """How a login fares; None for one that was never planned."""
        return self._states.get(name)

    def plan(self, name: str, due: float | None, now: float) -> None:
        """Plan a login that is new or has changed: what stood against it is over. ``due`` None: only on demand."""
        known = self._states.get(name)
        self._states[name] = LoginState(refreshed_at=known.refreshed_at if known is not None else None)
        self._queue(name, self._jittered(due, now))

    def forget(self, name: str) -> None:
        """Plan a login no more."""
        self._states.pop(name, None)
        self._running.discard(name)

    def next_moment(self) -> float | None:
        """When ``take`` has something next; None when nothing is planned."""
        while self._heap and not self._current(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, now: float) -> str | None:
        """The next login that is due, which counts as running until ``succeeded`` or ``failed``; None for none."""
        moment = self.next_moment()
        if moment is None or moment > now:
            return None
        _, name = heapq.heappop(self._heap)
        self._running.add(name)
        return name

    def begin(self, name: str) -> None:
        """A login is being refreshed on demand: it is not to be taken meanwhile."""
        self._running.add(name)

    def succeeded(self, name: str, due: float | None, now: float) -> None:
        """A refresh succeeded; ``due`` is when the new token wants the next one."""
        self._running.discard(name)
        if name not in self._states:
            return
        self._states[name] = LoginState(refreshed_at=now)
        if due is not None and due <= now:
            due = now + STILL_DUE
        self._queue(name, self._jittered(due, now))

    def failed(self, name: str, message: str, now: float, *, terminal: bool, retry_after: float | None = None) -> None:
        """A refresh failed. After a terminal failure the login waits for its file to change."""
        self._running.discard(name)
        state = self._states.get(name)
        if state is None:
            return
        ahead = state.due is not None
        state.failures += 1
        state.last_error = message
        state.login_again = terminal
        wanted = SHORTEST_BLOCK if retry_after is None else retry_after
        state.failed_at = now
        state.blocked_until = now + min(max(wanted, SHORTEST_BLOCK), LONGEST_BLOCK)
        backoff = min(FIRST_BACKOFF * 2 ** min(state.failures - 1, 8), LONGEST_BACKOFF)
        self._queue(name, None if terminal or not ahead else now + backoff)

    def put_off(self, name: str) -> None:
        """A refresh was given up without a result (cpa stops): nothing is recorded."""
        self._running.discard(name)

    def _queue(self, name: str, due: float | None) -> None:
        self._states[name].due = due
        if due is not None:
            heapq.heappush(self._heap, (due, name))
        if len(self._heap) > 2 * len(self._states) + FEW:
            self._tidy()

    def _tidy(self) -> None:
        """Drop plans that were replaced: of a login that ends in a year they would wait as long."""
        planned = {(due, name) for due, name in self._heap if name in self._states and self._states[name].due == due}
        self._heap = sorted(planned)

    def _current(self, due: float, name: str) -> bool:
        state = self._states.get(name)
        return state is not None and state.due == due and name not in self._running

    def _jittered(self, due: float | None, now: float) -> float | None:
        if due is None or due <= now:
            return due
        return due - self._random() * min(LARGEST_JITTER, (due - now) / 10)
