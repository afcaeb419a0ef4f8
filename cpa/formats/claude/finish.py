"""Why a Messages answer ended, both ways."""

from __future__ import annotations

from cpa.conversation.events import Finish, StopReason

_DECODED: dict[str, StopReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "sensitive": "content_filter",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context_exceeded",
}
_ENCODED: dict[StopReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
    "context_exceeded": "model_context_window_exceeded",
    "malformed_call": "end_turn",
}
_OVERRIDDEN = frozenset({"stop", "stop_sequence", "pause", "malformed_call"})


def decode_finish(native: str) -> StopReason:
    """The canonical reason; what nobody knows is ``stop``."""
    return _DECODED.get(native, "stop")


def encode_finish(finish: Finish | None, *, called: bool) -> tuple[str, str | None]:
    """``stop_reason`` and ``stop_sequence``: a complete call wins over a plain stop."""
    reason = finish.reason if finish is not None else "stop"
    if called and reason in _OVERRIDDEN:
        return "tool_use", None
    if not called and reason == "tool_calls":
        return "end_turn", None
    sequence = finish.stop_sequence if finish is not None and reason == "stop_sequence" else None
    return _ENCODED[reason], sequence
