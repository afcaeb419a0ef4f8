"""Errors in Google's shape: ``{"error": {"code", "message", "status", "details"}}``.

https://cloud.google.com/apis/design/errors. Without SSE Google wraps them in an array.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

import orjson

from cpa.errors import ErrorInfo
from cpa.formats.durations import parse_duration
from cpa.formats.gemini.fields import Object
from cpa.formats.gemini.history import FAMILY

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
"""``google.rpc.Code`` names by HTTP status."""

_CODES = {name: status for status, name in reversed(STATUS_NAMES.items())}
_ERROR_INFO = "google.rpc.ErrorInfo"
_RETRY_INFO = "google.rpc.RetryInfo"
_MESSAGE_LIMIT = 2048

_AFTER = re.compile(r"\b(?:after|in)\s+((?:(?:\d+(?:\.\d+)?)(?:ms|h|m|s))+)")
_KEY_IN_URL = re.compile(r"([?&]key=)[^&\s\"']+")
_TITLE = re.compile(r"<title[^>]*>([^<]{1,200})", re.IGNORECASE)


def decode_error(status: int, body: bytes) -> ErrorInfo:
    """Read an error answer. What is not JSON gives the page's title or the status phrase, never the page."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ErrorInfo(status, _phrase(status, body), type=STATUS_NAMES.get(status))
    error = error_of(value)
    if error is None:
        return ErrorInfo(status, _phrase(status, b""), type=STATUS_NAMES.get(status))
    info = info_of(error)
    if status >= 400:
        info.status = status
    return info


def error_of(value: Any) -> Object | None:
    """The ``error`` object of a body or frame (in an array or an envelope); None when it is no error."""
    if isinstance(value, list):
        value = next((item for item in value if isinstance(item, dict) and item.get("error")), None)
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if not error and isinstance(value.get("response"), dict):
        error = value["response"].get("error")
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) and error else None


def info_of(error: Object) -> ErrorInfo:
    """The canonical error for Google's ``error`` object; 502 when it names no status."""
    name = error.get("status")
    name = name if isinstance(name, str) else None
    code = error.get("code")
    if not isinstance(code, int) or isinstance(code, bool) or not 400 <= code <= 599:
        code = _CODES.get(name or "", 502)
    message = error.get("message")
    message = message if isinstance(message, str) and message else _phrase(code, b"")
    if "key=" in message:
        message = _KEY_IN_URL.sub(r"\1[REDACTED]", message)
        error = {**error, "message": message}
    details = error.get("details")
    details = details if isinstance(details, list) else None
    return ErrorInfo(
        status=code,
        message=message[:_MESSAGE_LIMIT],
        type=name or STATUS_NAMES.get(code),
        code=_reason(details),
        retry_after=retry_delay(details, message),
        format="gemini",
        raw={"error": error},
        details=details,
    )


def retry_delay(details: list[Any] | None, message: str) -> float | None:
    """Seconds to wait: from RetryInfo, else from the quota's reset delay, else from the words of the message."""
    found = [item for item in details or () if isinstance(item, dict)]
    for item in found:
        if str(item.get("@type", "")).endswith(_RETRY_INFO):
            delay = parse_duration(item.get("retryDelay"))
            if delay is not None:
                return delay
    for item in found:
        metadata = item.get("metadata")
        if isinstance(metadata, dict):
            delay = parse_duration(metadata.get("quotaResetDelay"))
            if delay is not None:
                return delay
    match = _AFTER.search(message)
    return parse_duration(match.group(1)) if match else None


def encode_error(error: ErrorInfo) -> Object:
    """The error body for a Gemini client; one that came from Google is kept as it was."""
    if error.format in FAMILY and isinstance(error.raw, dict) and isinstance(error.raw.get("error"), dict):
        return {"error": error.raw["error"]}
    status = error_status(error)
    body: Object = {
        "code": status,
        "message": error.message,
        "status": error.type if error.type in _CODES else STATUS_NAMES.get(status, _default_name(status)),
    }
    details = list(error.details or ())
    if error.retry_after is not None and not details:
        delay = f"{max(0.0, error.retry_after):.3f}".rstrip("0").rstrip(".")
        details = [{"@type": f"type.googleapis.com/{_RETRY_INFO}", "retryDelay": f"{delay}s"}]
    if details:
        body["details"] = details
    return {"error": body}


def error_status(error: ErrorInfo) -> int:
    """The HTTP status for a Gemini client; Google's API knows no 529."""
    if error.status == 529:
        return 503
    return error.status if 400 <= error.status <= 599 else 502


def _reason(details: list[Any] | None) -> str | None:
    for item in details or ():
        if isinstance(item, dict) and str(item.get("@type", "")).endswith(_ERROR_INFO):
            reason = item.get("reason")
            if isinstance(reason, str):
                return reason
    return None


def _default_name(status: int) -> str:
    return "INTERNAL" if status >= 500 else "INVALID_ARGUMENT"


def _phrase(status: int, body: bytes) -> str:
    title = _TITLE.search(body[:4096].decode("utf-8", "replace"))
    if title and title.group(1).strip():
        return f"{status} {' '.join(title.group(1).split())}"
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"
