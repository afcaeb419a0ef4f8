"""Errors of OpenAI-compatible APIs, both ways."""

from __future__ import annotations

import re
from typing import Any

import orjson

from cpa.errors import ErrorInfo

LONGEST_MESSAGE = 2048
_OTHER_VENDORS = frozenset({"claude", "gemini", "gemini-cli"})

_BY_STATUS: dict[int, tuple[str, str | None]] = {
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", "insufficient_quota"),
    404: ("invalid_request_error", "model_not_found"),
    408: ("timeout", "request_timeout"),
    409: ("invalid_request_error", "conflict"),
    413: ("invalid_request_error", "context_length_exceeded"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    501: ("server_error", "not_implemented"),
    503: ("server_error", "service_unavailable"),
    504: ("server_error", "timeout"),
    529: ("server_error", "overloaded"),
}
_TITLE = re.compile(rb"<title[^>]*>([^<]{1,200})</title>", re.IGNORECASE)
_REASONS = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 429: "Too Many Requests"}


def type_of_status(status: int) -> tuple[str, str | None]:
    """OpenAI's ``type`` and ``code`` for a status."""
    if known := _BY_STATUS.get(status):
        return known
    return ("server_error", "internal_server_error") if status >= 500 else ("invalid_request_error", None)


def decode_error(status: int, body: bytes) -> ErrorInfo:
    """Read an error answer of any provider; a page gives its title, never itself."""
    try:
        parsed: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ErrorInfo(status, _text_message(status, body))
    if isinstance(parsed, list) and len(parsed) == 1:
        parsed = parsed[0]
    if not isinstance(parsed, dict):
        return ErrorInfo(status, _text_message(status, body))
    return info_of(parsed, status)


def info_of(parsed: dict[str, Any], status: int) -> ErrorInfo:
    """The error in a JSON object, in any of the shapes providers use."""
    inner = parsed.get("error")
    if inner is None and isinstance(parsed.get("response"), dict):
        inner = parsed["response"].get("error")
    if isinstance(inner, dict):
        message = inner.get("message") or inner.get("msg") or inner.get("detail")
        source = inner
    else:
        source = parsed
        message = (
            inner if isinstance(inner, str) else parsed.get("message") or parsed.get("detail") or parsed.get("msg")
        )
    if not isinstance(message, str) or not message:
        message = orjson.dumps(message).decode() if message else f"upstream error {status}"
    code = source.get("code")
    return ErrorInfo(
        status,
        message[:LONGEST_MESSAGE],
        type=source["type"] if isinstance(source.get("type"), str) else None,
        code=code if isinstance(code, str) else str(code) if isinstance(code, int) else None,
        param=source["param"] if isinstance(source.get("param"), str) else None,
        format="openai",
        raw=parsed,
    )


def _text_message(status: int, body: bytes) -> str:
    text = body[:4096].decode("utf-8", "replace").strip()
    if not text:
        return f"upstream error {status} {_REASONS.get(status, '')}".strip()
    if text.startswith("<"):
        title = _TITLE.search(body[:65536])
        shown = title[1].decode("utf-8", "replace").strip() if title else "an HTML page"
        return f"upstream error {status}: {shown}"
    return text[:LONGEST_MESSAGE]


def encode_error(error: ErrorInfo) -> dict[str, Any]:
    """``{"error": {...}}``; an upstream's own body of this shape is kept as it is."""
    raw = error.raw
    if error.format == "openai" and isinstance(raw, dict) and isinstance(raw.get("error"), dict):
        return raw
    kind, code = words_of(error)
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": code}}


def words_of(error: ErrorInfo) -> tuple[str, str | None]:
    """OpenAI's ``type`` and ``code`` for an error; of another vendor's words only a code in OpenAI's manner stays."""
    kind, code = type_of_status(error.status)
    if error.format in _OTHER_VENDORS:
        own = error.code if error.code and error.code.islower() else None
        return kind, own or code
    return error.type or kind, error.code or code


_STATUS_MEMBERS = ("status", "status_code", "code")


def hidden_error(body: dict[str, Any], event: str | None = None) -> ErrorInfo | None:
    """The error in a JSON object that came with status 200, if it is one."""
    response = body.get("response")
    nested = response.get("error") if isinstance(response, dict) else None
    inner = body.get("error") or nested
    kind = body.get("type")
    is_error = (
        bool(inner)
        or event == "error"
        or kind in ("error", "response.error", "response.failed")
        or ("choices" not in body and "code" in body and "message" in body)
    )
    if not is_error or (body.get("choices") and not inner):
        return None
    return info_of(body, _status_inside(body, inner))


def _status_inside(body: dict[str, Any], inner: Any) -> int:
    for holder in (body, inner):
        if isinstance(holder, dict):
            for name in _STATUS_MEMBERS:
                value = holder.get(name)
                if isinstance(value, str) and value.isdigit():
                    value = int(value)
                if isinstance(value, int) and 400 <= value <= 599:
                    return value
    return 502
