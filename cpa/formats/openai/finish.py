"""Why a Chat Completions answer ended, both ways."""

from __future__ import annotations

from cpa.conversation.events import Finish, StopReason

_DECODED: dict[str, StopReason] = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",
}

_ENCODED: dict[StopReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
    "context_exceeded": "length",
    "malformed_call": "stop",
}

_OVERRIDDEN = frozenset({"stop", "stop_sequence", "pause", "malformed_call"})


def decode_finish(native: str) -> StopReason:
    """The canonical reason; what nobody knows is ``stop``."""
    return _DECODED.get(native, "stop")


def encode_finish(finish: Finish | None, *, called: bool) -> str:
    """``finish_reason``: a complete call wins over a plain stop; a promised call that never came is a stop."""
    reason = finish.reason if finish is not None else "stop"
    if called and reason in _OVERRIDDEN:
        return "tool_calls"
    if not called and reason == "tool_calls":
        return "stop"
    return _ENCODED[reason]
