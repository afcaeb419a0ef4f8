"""How a response ended, both ways."""

from __future__ import annotations

from cpa.conversation.events import Finish, StopReason
from cpa.formats.openai_response.fields import Object, object_of, text

_INCOMPLETE: dict[str, StopReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}

_REASONS: dict[StopReason, str] = {
    "length": "max_output_tokens",
    "context_exceeded": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


def decode_finish(response: Object, *, incomplete: bool, called: bool, refused: bool) -> Finish:
    """Why the response ended; ``incomplete`` says the event or status, ``called`` and ``refused`` its output."""
    if incomplete:
        native = text(object_of(response.get("incomplete_details")), "reason")
        return Finish(_INCOMPLETE.get(native or "", "pause"), native=native)
    if called:
        return Finish("tool_calls", native="completed")
    if refused:
        return Finish("refusal", native="completed")
    if sequence := text(response, "stop_sequence"):
        return Finish("stop_sequence", native="completed", stop_sequence=sequence)
    return Finish("stop", native="completed")


def incomplete_reason(finish: Finish | None, *, refused: bool) -> str | None:
    """``incomplete_details.reason``, None when the response is complete (a shown refusal is)."""
    if finish is None or (finish.reason == "refusal" and refused):
        return None
    return _REASONS.get(finish.reason)
