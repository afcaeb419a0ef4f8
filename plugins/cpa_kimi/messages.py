"""What Kimi refuses in Chat Completions messages, mended."""

from __future__ import annotations

from typing import Any

from cpa.formats.codec import JsonObject

NO_REASONING = "[reasoning unavailable]"


def mended(messages: list[Any]) -> list[Any]:
    """The messages as Kimi takes them; the same list when nothing had to change.

    Assistant messages that say nothing are dropped. Those with tool calls get the ``reasoning_content`` Kimi insists
    on: the latest one before, else their own text. Tool answers without an id get that of the one open call.
    """
    fixed: list[Any] = []
    reasoning, open_calls = "", list[str]()
    for message in messages:
        if not isinstance(message, dict):
            fixed.append(message)
            continue
        if message.get("role") == "assistant":
            if _is_empty(message):
                continue
            message = _with_reasoning(message, reasoning)
            reasoning = _text(message.get("reasoning_content")) or reasoning
            open_calls = _call_ids(message)
        elif message.get("role") == "tool":
            message = _with_id(message, open_calls)
            open_calls = [call for call in open_calls if call != message.get("tool_call_id")]
        fixed.append(message)
    same = len(fixed) == len(messages) and all(new is old for new, old in zip(fixed, messages, strict=True))
    return messages if same else fixed


def _is_empty(message: JsonObject) -> bool:
    says = ("content", "tool_calls", "function_call", "reasoning_content", "reasoning")
    return not any(_says(message.get(member)) for member in says)


def _says(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else bool(value)


def _with_reasoning(message: JsonObject, earlier: str) -> JsonObject:
    if not message.get("tool_calls") or _text(message.get("reasoning_content")):
        return message
    return {**message, "reasoning_content": earlier or _text(message.get("content")) or NO_REASONING}


def _with_id(message: JsonObject, open_calls: list[str]) -> JsonObject:
    if _text(message.get("tool_call_id")):
        return message
    known = _text(message.get("call_id")) or (open_calls[0] if len(open_calls) == 1 else "")
    return {**message, "tool_call_id": known} if known else message


def _call_ids(message: JsonObject) -> list[str]:
    calls = message.get("tool_calls")
    found = [call.get("id") for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    return [call for call in found if isinstance(call, str)]


def _text(value: Any) -> str:
    return value if isinstance(value, str) and value.strip() else ""
