"""Errors in Google's shape, and counting."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from cpa.errors import ErrorInfo
from cpa.formats.gemini import GeminiCliCodec, GeminiCodec

CODEC = GeminiCodec()


def error(code: int = 429, message: str = "quota", **members: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": "RESOURCE_EXHAUSTED", **members}}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.847s"}
INFO = {
    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
    "reason": "RATE_LIMIT_EXCEEDED",
    "metadata": {"quotaResetDelay": "373.8ms"},
}


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (error(details=[INFO, RETRY]), 0.847),
        (error(details=[INFO]), 0.3738),
        (error(message="Your quota will reset after 1h2m3s."), 3723.0),
        (error(message="Please retry in 12.5s."), 12.5),
        (error(), None),
        ([error(details=[RETRY])], 0.847),
    ],
)
def test_when_to_retry(body: Any, seconds: float | None) -> None:
    found = CODEC.decode_error(429, orjson.dumps(body))
    assert found.status == 429
    assert found.type == "RESOURCE_EXHAUSTED"
    assert found.retry_after == (pytest.approx(seconds) if seconds is not None else None)


def test_the_reason_is_the_code() -> None:
    found = CODEC.decode_error(429, orjson.dumps(error(details=[INFO])))
    assert found.code == "RATE_LIMIT_EXCEEDED"
    assert found.details == [INFO]


def test_pages_are_not_shown() -> None:
    page = b"<html><head><title>Bad  gateway</title></head><body>secret</body></html>"
    assert CODEC.decode_error(502, page).message == "502 Bad gateway"
    assert CODEC.decode_error(502, b"").message == "502 Bad Gateway"
    assert CODEC.decode_error(500, b"3").message == "500 Internal Server Error"


def test_keys_in_messages_are_hidden() -> None:
    found = CODEC.decode_error(400, orjson.dumps(error(message="GET https://x/y?key=AIzaSecret&alt=sse failed")))
    assert "AIzaSecret" not in found.message
    assert b"AIzaSecret" not in orjson.dumps(CODEC.encode_error(found))


def test_google_errors_reach_gemini_clients_as_they_were() -> None:
    body = error(details=[RETRY], extra=1)
    assert CODEC.encode_error(CODEC.decode_error(429, orjson.dumps([body]))) == body


@pytest.mark.parametrize(
    ("status", "name", "told"),
    [
        (400, "INVALID_ARGUMENT", 400),
        (401, "UNAUTHENTICATED", 401),
        (403, "PERMISSION_DENIED", 403),
        (404, "NOT_FOUND", 404),
        (429, "RESOURCE_EXHAUSTED", 429),
        (500, "INTERNAL", 500),
        (502, "INTERNAL", 502),
        (503, "UNAVAILABLE", 503),
        (504, "DEADLINE_EXCEEDED", 504),
        (529, "UNAVAILABLE", 503),
        (418, "INVALID_ARGUMENT", 418),
    ],
)
def test_other_errors_in_googles_shape(status: int, name: str, told: int) -> None:
    found = ErrorInfo(
        status, "m", type="overloaded_error", format="claude", raw={"type": "error", "error": {"type": "x"}}
    )
    assert CODEC.encode_error(found) == {"error": {"code": told, "message": "m", "status": name}}
    assert CODEC.error_status(found) == told


def test_counts() -> None:
    assert CODEC.decode_count({"totalTokens": 31}) == 31
    assert CODEC.decode_count({"response": {"totalTokens": 31}}) == 31
    assert CODEC.decode_count({"totalTokens": "x"}) is None
    told = CODEC.encode_count(9)
    assert told == {"totalTokens": 9, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}]}


def test_countable_text() -> None:
    body = {
        "system_instruction": {"parts": [{"text": "sys"}]},
        "contents": [
            {"parts": [{"text": "hello"}, {"inlineData": {"data": "AAAA"}}]},
            {"parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}, 3]},
        ],
        "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "object"}}]}],
    }
    text = 'sys\nhello\nf\n{"a":1}\nf\nd\n{"type":"object"}'
    assert CODEC.countable_text(body) == text
    assert GeminiCliCodec().countable_text({"request": body}) == text
    assert CODEC.countable_text({"contents": 3}) == ""
