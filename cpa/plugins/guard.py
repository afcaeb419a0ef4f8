"""Calls hooks so that a plugin that raises, returns junk or blocks harms no request, and is left alone in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from cpa.accounts.account import Account
from cpa.catalog.model import Model
from cpa.errors import ApiError, ErrorInfo
from cpa.plugins.values import ClientIdentity

MOST_FAULTS = 20
"""Faults in a row after which a plugin's hooks are not called any more, until the configuration changes."""
LONGEST_CALL = 1.0
"""Seconds after which a call that blocked the event loop counts as a fault."""

Accept: TypeAlias = Callable[[Any], Any]
"""Gives what a hook returned in the shape its caller expects. Raises TypeError for junk."""


class Conduct:
    """How one plugin behaves."""

    def __init__(self, name: str, log: Any) -> None:
        self.name = name
        self._log = log
        self._row = 0
        self.faults = 0
        """Since it was loaded."""
        self.reason = ""
        """The last fault."""
        self.suspended = False

    def fine(self) -> None:
        """A call went well."""
        self._row = 0

    def failed(self, hook: str, reason: str, fault: Exception | None = None) -> None:
        """A call did not."""
        self.faults += 1
        self._row += 1
        self.reason = f"{hook}: {reason}" if fault is not None else f"{hook} {reason}"
        self._log.error("plugin failed", plugin=self.name, hook=hook, reason=reason, exc_info=fault)
        if self._row >= MOST_FAULTS and not self.suspended:
            self.suspended = True
            advice = "it is not called any more until the configuration changes"
            self._log.error("plugin suspended", plugin=self.name, faults=self._row, reason=self.reason, advice=advice)

    def forgive(self) -> None:
        """Call it again."""
        self._row = 0
        self.suspended = False


class GuardedHook:
    """One implementation of a hook, called by keyword. Gives None for a call that failed.

    An ``ApiError`` of a hook that may refuse a request is passed on. One that recognises clients is never left out:
    where it fails nobody is let in.
    """

    def __init__(self, implementation: Any, name: str, conduct: Conduct) -> None:
        self._function = implementation.function
        self._names = implementation.argnames
        self._hook = name
        self._conduct = conduct
        self._accept = ACCEPTED.get(name)
        self._may_refuse = name in MAY_REFUSE
        self._fails_closed = name in FAILS_CLOSED

    def __call__(self, **arguments: Any) -> Any:
        """Call it."""
        conduct = self._conduct
        if conduct.suspended and not self._fails_closed:
            return None
        begun = time.perf_counter()
        try:
            result = self._function(*[arguments[name] for name in self._names])
            if self._accept is not None and result is not None:
                result = self._accept(result)
        except Exception as fault:
            if self._may_refuse and isinstance(fault, ApiError):
                raise
            conduct.failed(self._hook, f"{type(fault).__name__}: {fault}", fault)
            if self._fails_closed:
                error = ErrorInfo(500, "Authentication service error", type="server_error", code="authentication_error")
                raise ApiError(error) from None
            return None
        if (took := time.perf_counter() - begun) > LONGEST_CALL:
            conduct.failed(self._hook, f"blocked the daemon for {took:.2f} seconds")
        else:
            conduct.fine()
        return result


def first_result(hooks: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """Calls hooks until one gives something."""

    def call(**arguments: Any) -> Any:
        for hook in hooks:
            if (result := hook(**arguments)) is not None:
                return result
        return None

    return call


def every_one(hooks: Sequence[Callable[..., Any]]) -> Callable[..., None]:
    """Calls all hooks for what they do."""

    def call(**arguments: Any) -> None:
        for hook in hooks:
            hook(**arguments)

    return call


def _junk(expected: str, result: Any) -> TypeError:
    return TypeError(f"gave {type(result).__name__} where {expected} is expected")


def _an_object(result: Any) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise _junk("a JSON object", result)
    return result


def _an_identity(result: Any) -> ClientIdentity:
    if isinstance(result, str) and result:
        return ClientIdentity(result)
    if not isinstance(result, ClientIdentity):
        raise _junk("a ClientIdentity", result)
    return result


def _an_account(result: Any) -> Account:
    if not isinstance(result, Account):
        raise _junk("an Account", result)
    return result


def _formats(result: Any) -> list[Any]:
    codecs = list(result)
    for codec in codecs:
        if not isinstance(getattr(codec, "name", None), str):
            raise _junk("a codec", codec)
    return codecs


def _models(result: Any) -> list[Model]:
    models = list(result)
    for model in models:
        if not isinstance(model, Model):
            raise _junk("a Model", model)
    return models


ACCEPTED: Mapping[str, Accept] = {
    "cpa_authenticate": _an_identity,
    "cpa_choose_account": _an_account,
    "cpa_edit_reply": _an_object,
    "cpa_edit_request": _an_object,
    "cpa_formats": _formats,
    "cpa_models": _models,
}
"""Hook -> what its result must be, where that matters."""
MAY_REFUSE = frozenset({"cpa_authenticate", "cpa_edit_reply", "cpa_edit_request", "cpa_edit_upstream_request"})
FAILS_CLOSED = frozenset({"cpa_authenticate"})
GUARDED = frozenset(
    {
        *ACCEPTED,
        "cpa_edit_upstream_request",
        "cpa_exchange",
        "cpa_management_routes",
        "cpa_routes",
        "cpa_stream_event",
        "cpa_usage",
    }
)
"""Hooks that requests, or the start, go through. Others are called where their faults are dealt with."""
