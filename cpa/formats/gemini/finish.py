"""Finish reasons of Gemini and their canonical meaning."""

from __future__ import annotations

from cpa.conversation.events import Finish, StopReason

TO_CANONICAL: dict[str, StopReason] = {
    "STOP": "stop",
    "OTHER": "stop",
    "LANGUAGE": "stop",
    "IMAGE_OTHER": "stop",
    "NO_IMAGE": "stop",
    "FINISH_REASON_UNSPECIFIED": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MALFORMED_FUNCTION_CALL": "malformed_call",
    "UNEXPECTED_TOOL_CALL": "malformed_call",
    "TOO_MANY_TOOL_CALLS": "malformed_call",
    "MISSING_THOUGHT_SIGNATURE": "malformed_call",
    "MALFORMED_RESPONSE": "malformed_call",
}
"""``Candidate.FinishReason``; https://ai.google.dev/api/generate-content#FinishReason."""

_FROM_CANONICAL: dict[StopReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "STOP",
    "context_exceeded": "MAX_TOKENS",
    "malformed_call": "MALFORMED_FUNCTION_CALL",
}

CUTTING: frozenset[StopReason] = frozenset({"length", "context_exceeded", "content_filter", "refusal"})
"""Finishes that may cut a call in two: one with broken arguments is then no usable call."""


def decode_finish(native: str, choice: int, *, called: bool) -> Finish:
    """The finish of a candidate. A stop after a function call means that the model waits for its result."""
    reason = TO_CANONICAL.get(native, "stop")
    if reason == "stop" and called:
        reason = "tool_calls"
    return Finish(reason, choice, native=native)


def encode_finish(finish: Finish | None, *, called: bool) -> str:
    """The ``finishReason`` a Gemini client is told; ``called``: a complete call was shown to it."""
    if finish is None:
        return "STOP"
    if finish.reason == "malformed_call" and called:
        return "STOP"
    native = finish.native
    if finish.reason in ("content_filter", "malformed_call") and native and TO_CANONICAL.get(native) == finish.reason:
        return native
    return _FROM_CANONICAL.get(finish.reason, "STOP")
