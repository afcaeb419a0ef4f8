"""The common reading of upstream errors: whose fault, try elsewhere, cool down how long.

What a vendor tells in a way of its own is added by its provider.
"""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping

from cpa.errors import ErrorInfo, FaultScope, UpstreamError
from cpa.formats.durations import spoken_wait

MINUTE = 60.0
HOUR = 3600.0
LONGEST_HINT = 8 * 24 * HOUR

_UNSUPPORTED_MODEL = re.compile(
    r"model_not_supported|requested model is (?:not supported|unsupported|unavailable)|model (?:is )?not supported"
    r"|unsupported model|model unavailable|not available for your (?:plan|account)",
    re.IGNORECASE,
)
_REQUEST_FAULT = ("invalid_request_error", "INVALID_ARGUMENT", "FAILED_PRECONDITION")
_CUT_OFF = "stream_cut_off"
"""What our own reading calls a stream that ends too early: a lost connection, which is no account's fault."""
_NO_CREDIT = "insufficient_quota"
"""OpenAI's word for an account without money, which comes as 429; waiting does not help."""
_CHALLENGE = ("challenge-platform", "cf-mitigated")
_SHORTEST_CHALLENGE = 10.0

COOLDOWNS: dict[int, tuple[float, str]] = {
    401: (30 * MINUTE, "unauthorized"),
    402: (30 * MINUTE, "payment_required"),
    403: (30 * MINUTE, "payment_required"),
    404: (12 * HOUR, "not_found"),
    408: (MINUTE, "transient"),
    500: (MINUTE, "transient"),
    502: (MINUTE, "transient"),
    503: (MINUTE, "transient"),
    504: (MINUTE, "transient"),
}
"""Status -> (seconds, reason). 429 is not here: without a hint it backs off exponentially.

Statuses above 501 that vendors and their gateways made up (520, 529 ...) are passing failures, too.
"""
_NOT_IMPLEMENTED = 501


def server_time(headers: Mapping[str, str]) -> float:
    """The time (Unix seconds) by the clock of whoever sent an answer, ours when it does not say.

    Moments in its answer are meant by that clock; ours may be wrong.
    """
    value = headers.get("Date") or headers.get("date")
    if value:
        try:
            return email.utils.parsedate_to_datetime(value).timestamp()
        except (TypeError, ValueError, OverflowError):
            pass
    return time.time()


def retry_after_of(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds from ``retry-after-ms`` or ``Retry-After`` (seconds, fractions or an HTTP date), at most 8 days."""
    milliseconds = headers.get("retry-after-ms")
    if milliseconds:
        try:
            return _bounded(float(milliseconds) / 1000)
        except ValueError:
            pass
    value = (headers.get("Retry-After") or headers.get("retry-after") or "").strip()
    if not value:
        return None
    try:
        return _bounded(float(value))
    except ValueError:
        pass
    try:
        moment = email.utils.parsedate_to_datetime(value).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    return _bounded(moment - (server_time(headers) if now is None else now))


def wait_of(headers: Mapping[str, str], error: ErrorInfo) -> float | None:
    """Seconds to wait before the next try, by what the error itself tells, its answer's headers, or its words."""
    return _bounded(error.retry_after or 0.0) or retry_after_of(headers) or _bounded(spoken_wait(error.message) or 0.0)


def _bounded(seconds: float) -> float | None:
    return min(seconds, LONGEST_HINT) if seconds > 0 else None


def classify(status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
    """The common table: status and body to scope, retry and cooldown."""
    if error.raw is None and error.code == _CUT_OFF:
        return UpstreamError(error, scope="none", cooldown=0)
    text = body[:65536].decode("utf-8", "replace")
    if status in (429, 503, 529):
        error.retry_after = wait_of(headers, error)
    if status in (400, 422) and _UNSUPPORTED_MODEL.search(text):
        return UpstreamError(error, scope="model", cooldown=12 * HOUR, reason="model_not_supported")
    if _is_request_fault(status, text):
        return UpstreamError(error, scope="request", retryable=False, cooldown=0)
    if status in (403, 429, 503) and _is_challenge(headers, text):
        seconds = max(_SHORTEST_CHALLENGE, error.retry_after or 0.0)
        return UpstreamError(error, scope="account", cooldown=seconds, reason="challenge")
    if status in (400, 401) and '"invalid_grant"' in text:
        return UpstreamError(error, scope="account", cooldown=30 * MINUTE, reason="unauthorized")
    if status == 429 and _NO_CREDIT in (error.code, error.type):
        seconds, reason = COOLDOWNS[402]
        return UpstreamError(error, scope="account", cooldown=seconds, reason=reason)
    if status == 429:
        return UpstreamError(error, scope="model", cooldown=error.retry_after, reason="quota")
    if status in COOLDOWNS or status > _NOT_IMPLEMENTED:
        seconds, reason = COOLDOWNS.get(status, (MINUTE, "transient"))
        scope: FaultScope = "account" if status in (401, 402) else "model"
        return UpstreamError(error, scope=scope, cooldown=error.retry_after or seconds, reason=reason)
    return UpstreamError(error, scope="none", cooldown=0)


def _is_challenge(headers: Mapping[str, str], text: str) -> bool:
    """A page that wants to see a browser, which says nothing about the credential."""
    if headers.get("cf-mitigated") or any(mark in text for mark in _CHALLENGE):
        return True
    lower = text.lower()
    return "<html" in lower and "cloudflare" in lower


def _is_request_fault(status: int, text: str) -> bool:
    match status:
        case 400:
            return any(mark in text for mark in _REQUEST_FAULT)
        case 413 | 422:
            return True
        case 404:
            return "not found" in text and "store" in text and "persisted" in text
        case 500:
            return '"status":"UNKNOWN"' in text.replace(" ", "")
    return False
