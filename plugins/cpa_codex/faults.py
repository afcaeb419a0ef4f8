"""What errors of the Codex backend mean, and the words clients know them by."""

from __future__ import annotations

from collections.abc import Mapping

from cpa.errors import ErrorInfo, UpstreamError
from cpa.plugins import classify, server_time, wait_of
from cpa_codex import quota

CONTEXT_TOO_LARGE = "context_too_large"
_CAPACITY = ("selected model is at capacity", "model is at capacity. please try a different model")
_CONTEXT = ("context length", "context_length", "maximum context", "too many tokens")
_CONTEXT_CODES = ("context_length_exceeded", CONTEXT_TOO_LARGE)
_REQUEST_FAULTS = (
    ("invalid signature in thinking block", "thinking_signature_invalid"),
    ("invalid_encrypted_content", "thinking_signature_invalid"),
    ("previous_response_not_found", "previous_response_not_found"),
)
_REFUSED = ("invalid or expired token", "refresh_token_reused")
_SEARCHED = 65536
"""Bytes of a body in which these words are looked for."""


def judge(status: int, headers: Mapping[str, str], body: bytes, error: ErrorInfo) -> UpstreamError:
    """Whose fault it is; changes ``error`` to what the client is told."""
    message = error.message.lower()
    if "usage_limit_reached" in (error.type, error.code):
        return _limit_reached(headers, error)
    if any(words in message for words in _CAPACITY):
        error.status = 429
        error.retry_after = wait_of(headers, error)
        return UpstreamError(error, scope="model", cooldown=error.retry_after, reason="quota")
    text = body[:_SEARCHED].decode("utf-8", "replace")
    if code := _request_fault(status, message, text, error):
        if error.status >= 500:
            error.status = 400
        _call(error, "invalid_request_error", code)
        return UpstreamError(error, scope="request", retryable=False, cooldown=0)
    if error.status == 408 and "closed before response.completed" in message:
        return UpstreamError(error, scope="none", cooldown=0)
    judged = classify(error.status or status, headers, body, error)
    if error.status == 401 or any(words in text.lower() for words in _REFUSED):
        _call(error, "authentication_error", "auth_unavailable")
    return judged


def _request_fault(status: int, message: str, text: str, error: ErrorInfo) -> str | None:
    """The code for a request that no account can answer."""
    plain = error.status != 429 and error.type in (None, "invalid_request_error")
    if status == 413 or error.code in _CONTEXT_CODES or (plain and any(words in message for words in _CONTEXT)):
        return CONTEXT_TOO_LARGE
    found = next((code for words, code in _REQUEST_FAULTS if words in text), None)
    if found is None and "previous_response_id" in text and "not found" in text.lower():
        return "previous_response_not_found"
    return found


def _call(error: ErrorInfo, kind: str, code: str) -> None:
    """Give an error these words, whatever the upstream's were."""
    error.type, error.code, error.raw = kind, code, None


def _limit_reached(headers: Mapping[str, str], error: ErrorInfo) -> UpstreamError:
    """The subscription's limit holds for all models; additional ones, with windows of their own, for one."""
    now = server_time(headers)
    error.status = 429
    error.retry_after = _resets_in(error, now) or wait_of(headers, error)
    windows = [window for window in quota.from_headers(headers, now) if not window.paid]
    general = [window for window in windows if not window.limited]
    apart = len(windows) > len(general) > 0 and all((window.used_ratio or 0.0) < 1.0 for window in general)
    return UpstreamError(error, scope="model" if apart else "account", cooldown=error.retry_after, reason="quota")


def _resets_in(error: ErrorInfo, now: float) -> float | None:
    """Seconds from ``resets_at``, if that is to come, or from ``resets_in_seconds``."""
    told = error.raw.get("error") if isinstance(error.raw, dict) else None
    at = told.get("resets_at") if isinstance(told, dict) else error.resets_at
    if isinstance(at, int | float) and at > now:
        return float(at - now)
    seconds = told.get("resets_in_seconds") if isinstance(told, dict) else None
    return float(seconds) if isinstance(seconds, int | float) and seconds > 0 else None
