"""The one exception hierarchy of cpa, and the canonical error it carries."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

FaultScope: TypeAlias = Literal["request", "model", "account", "none"]


class ErrorInfo(Struct):
    """An error as any client format can be told it.

    Made by cpa itself or read from an upstream answer; ``type`` and ``code`` are the upstream's own words where
    it gave any.
    """

    status: int
    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    """Seconds until a retry makes sense."""
    resets_at: float | None = None
    """When the limit that was hit ends, by the clock of whoever says so (Unix seconds)."""
    format: str | None = None
    """The format ``raw`` is in."""
    raw: Any = None
    """The upstream's error body, for a client of the same format."""
    details: list[Any] | None = None
    """Google ``error.details``."""


def bad_event() -> ErrorInfo:
    """An upstream's stream holds something that its protocol does not know: part of the answer may be lost."""
    return ErrorInfo(502, "the upstream sent an event that is not JSON", type="server_error", code="bad_event")


def no_answer() -> ErrorInfo:
    """The upstream sent JSON that is no whole answer: something else, or a part of one."""
    message = "what the upstream sent is not a whole answer"
    return ErrorInfo(502, message, type="server_error", code="bad_upstream_response")


def ended_within_event() -> ErrorInfo:
    """An upstream's stream broke off in the middle of an event: part of the answer is lost, whatever came before."""
    message = "the upstream's stream ended within an event"
    return ErrorInfo(502, message, type="server_error", code="stream_cut_off")


class CpaError(Exception):
    """Base of every error cpa raises on purpose."""


class ApiError(CpaError):
    """A request cannot be answered; a surface turns it into its format's error body."""

    def __init__(self, error: ErrorInfo) -> None:
        super().__init__(f"{error.status} {error.message}")
        self.error = error


class InvalidRequest(ApiError):
    """The client's request is wrong (400 unless said otherwise)."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(
            ErrorInfo(status=status, message=message, type="invalid_request_error", code=code, param=param)
        )


class UpstreamError(ApiError):
    """An attempt failed at the upstream.

    ``scope`` says who is at fault: the ``request`` (no other account would do better), the ``model`` on this
    account, the whole ``account``, or nobody in particular (``none``, e.g. a network fault).
    ``cooldown`` is how many seconds to leave the account (or the model on it) alone; None applies the standard
    table for the status.
    """

    def __init__(
        self,
        error: ErrorInfo,
        *,
        scope: FaultScope = "model",
        retryable: bool = True,
        cooldown: float | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(error)
        self.scope: FaultScope = scope
        self.retryable = retryable
        self.cooldown = cooldown
        self.reason = reason


class OAuthError(CpaError):
    """An authorization server gave no token; the message quotes no credential.

    ``status`` is HTTP's, 0 for a network fault. ``terminal``: the login is worth nothing any more, only another login
    helps. ``retry_after`` in seconds, when the server asked to wait.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        description: str = "",
        terminal: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.description = description
        self.terminal = terminal
        self.retry_after = retry_after


PORT_IN_USE = 13
"""``LoginError.status`` and exit status of ``cpa login`` when the callback port is taken."""
_LOGIN_STATUSES = {"callback_timeout": 408, "server_start_failed": 500, "port_in_use": PORT_IN_USE}


class LoginError(CpaError):
    """Somebody could not be logged in; the message is for them and quotes no code, state or token.

    ``code`` is stable: ``invalid_state``, ``no_code``, ``no_state``, ``access_denied``, ``code_exchange_failed``,
    ``callback_timeout``, ``port_in_use``, ``server_start_failed``, ``expired_token``, ``cancelled`` ... or the
    authorization server's own.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = _LOGIN_STATUSES.get(code, 400)


class ConfigError(CpaError):
    """The configuration is wrong; the message names key and line where they are known."""


class AuthFileError(CpaError):
    """An auth file cannot be used, or its name cannot; the message quotes no content."""


class AuthFileMissing(AuthFileError):
    """There is no auth file of that name (any more)."""


class AuthFileExists(AuthFileError):
    """There is an auth file of that name already."""


class PluginError(CpaError):
    """A plugin could not be loaded or broke its contract."""
