"""The quick look for secrets never overlooks what the slow one would find."""

from __future__ import annotations

import pytest

from cpa.logs.redaction import Secrets

SHAPES = [
    "Authorization: Bearer abcdefgh12345",
    "BASIC dXNlcjpwYXNzd29yZA==",
    "the key sk-ant-REDACTED-0123456789",
    "SK-PROJ-REDACTED0123",
    "AIzaSyREDACTEDREDACTEDREDACTED",
    "ya29.REDACTED-REDACTED",
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "/v1/models?key=abc",
    "/x?a=b&auth_token=abc",
]


@pytest.mark.parametrize("text", SHAPES)
def test_every_shape_is_masked_in_an_ordinary_field(text: str) -> None:
    event = Secrets()(None, "info", {"event": "request", "path": text, "status": 200})
    assert "***" in event["path"]
    assert event["path"] != text


def test_an_ordinary_line_is_left_as_it_is() -> None:
    event = {"event": "request", "path": "/v1/models", "status": 200, "reason": "asked for 3 tokens"}
    assert Secrets()(None, "info", event) is event
