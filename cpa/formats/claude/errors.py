"""Errors of Messages, both ways.

https://docs.anthropic.com/en/api/errors
"""

from __future__ import annotations

from typing import Any

import orjson

from cpa.errors import ErrorInfo
from cpa.formats.claude.fields import an_object, text_of
from cpa.formats.openai.errors import decode_error as decode_any_error

_BY_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def type_of(error: ErrorInfo) -> str:
    """Anthropic's ``type`` for an error."""
    if error.type in STATUS_OF_TYPE and error.type != "invalid_request_error":
        return str(error.type)
    if error.status == 503 and "overload" in f"{error.type} {error.code} {error.message}".lower():
        return "overloaded_error"
    return _BY_STATUS.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")


def decode_error(status: int, body: bytes) -> ErrorInfo:
    """Read an error answer."""
    error = decode_any_error(status, body)
    if error.raw is not None:
        error.format = "claude"
    return error


def error_event(event: dict[str, Any]) -> ErrorInfo:
    """The error in an ``error`` event; its type says the status."""
    inner = an_object(event.get("error"))
    kind = text_of(inner.get("type"))
    message = text_of(inner.get("message")) or kind or "the upstream reported an error"
    status = STATUS_OF_TYPE.get(kind or "", 502)
    return ErrorInfo(status, message[:2048], type=kind, format="claude", raw=event)


def encode_error(error: ErrorInfo, request_id: str | None = None) -> dict[str, Any]:
    """``{"type": "error", "error": {...}}``; an upstream's own body of this shape is kept as it is."""
    raw = error.raw
    if error.format == "claude" and isinstance(raw, dict) and raw.get("type") == "error" and "error" in raw:
        return raw
    body: dict[str, Any] = {"type": "error", "error": {"type": type_of(error), "message": error.message}}
    if request_id:
        body["request_id"] = request_id
    return body


def error_frame(error: ErrorInfo) -> bytes:
    """The payload of an ``error`` event."""
    return orjson.dumps({"type": "error", "error": {"type": type_of(error), "message": error.message}})
