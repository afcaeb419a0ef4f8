"""Errors of the Responses API: answers, stream events and responses that failed."""

from __future__ import annotations

from typing import Any

from cpa.errors import ErrorInfo
from cpa.formats.openai.errors import decode_error as decode_openai_error
from cpa.formats.openai.errors import encode_error as encode_openai_error
from cpa.formats.openai.errors import info_of, words_of
from cpa.formats.openai_response.fields import Object, count, object_of

FORMAT = "openai-response"

_STATUS_OF_CODE = {
    "server_is_overloaded": 503,
    "slow_down": 503,
    "overloaded": 503,
    "service_unavailable_error": 503,
    "cyber_policy": 400,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "usage_limit_reached": 429,
    "usage_not_included": 429,
    "insufficient_quota": 429,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
    "invalid_request_error": 400,
    "invalid_image": 400,
    "previous_response_not_found": 400,
    "model_not_found": 404,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthorized": 401,
    "permission_error": 403,
    "permission_denied": 403,
    "forbidden": 403,
    "not_found_error": 404,
    "not_found": 404,
    "bad_request_error": 400,
    "server_error": 500,
    "internal_server_error": 500,
}
"""HTTP status for the codes that arrive inside a stream, where there is none."""


def decode_error(status: int, body: bytes) -> ErrorInfo:
    """Read an error answer. Its shape is that of Chat Completions, ``raw`` serves clients of both."""
    return decode_openai_error(status, body)


CUT_OFF = "stream disconnected before completion: stream closed before response.completed"


def cut_off() -> ErrorInfo:
    """The upstream closed before its terminal event: 408 in the words that Responses clients know."""
    return ErrorInfo(408, CUT_OFF, type="timeout", code="request_timeout")


def stream_error(event: Object) -> ErrorInfo:
    """The error in an ``error`` or ``response.failed`` event, or in a bare error body."""
    body = event.get("body")
    source = event
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        source = body
    info = info_of(source, 502)
    if info.message == "upstream error 502":
        info.message = "the upstream reported a failure without a message"
    info.status = _status(event, info)
    info.format = FORMAT
    info.raw = None
    told = object_of(source.get("error")) or object_of(object_of(source.get("response")).get("error"))
    info.retry_after = _seconds(told.get("resets_in_seconds"))
    info.resets_at = _seconds(told.get("resets_at"))
    if info.type in ("error", "response.failed", "response.error"):
        info.type = None
    return info


def _seconds(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if value > 0 else None


def _status(event: Object, info: ErrorInfo) -> int:
    for holder in (event, object_of(event.get("error"))):
        status = count(holder, "status", "status_code")
        if status is not None and 400 <= status <= 599:
            return status
    for word in (info.code, info.type):
        if word is not None and word in _STATUS_OF_CODE:
            return _STATUS_OF_CODE[word]
        if word is not None and word.endswith("_not_found"):
            return 404
        if word is not None and word.startswith("invalid_request"):
            return 400
        if word is not None and word.isdigit() and 400 <= int(word) <= 599:
            return int(word)
    return 502


def reply_failure(body: Object) -> ErrorInfo | None:
    """The error in a whole answer that came with status 200, if it is one."""
    if body.get("status") == "failed" or body.get("type") in ("error", "response.failed"):
        return stream_error(body)
    if body.get("error") and "output" not in body:
        return stream_error(body)
    return None


def encode_error(error: ErrorInfo) -> Object:
    """The body of an error answer: ``{"error": {message, type, param, code}}``."""
    return encode_openai_error(error)


def code_of(error: ErrorInfo) -> str:
    """The ``code`` a streaming client is told."""
    if error.code is None and error.type is not None and error.format in (None, FORMAT, "openai"):
        return error.type
    kind, code = words_of(error)
    return code or kind


def error_event(error: ErrorInfo, sequence: int) -> Object:
    """The ``error`` event that ends a stream."""
    return {
        "type": "error",
        "sequence_number": sequence,
        "code": code_of(error),
        "message": error.message,
        "param": error.param,
    }


def failed_event(error: ErrorInfo, response: Object, sequence: int) -> Object:
    """``response.failed``, which a Codex CLI understands where it does not read ``error``."""
    shown: Any = {"code": code_of(error), "message": error.message}
    return {
        "type": "response.failed",
        "sequence_number": sequence,
        "response": {**response, "status": "failed", "error": shown},
    }
