"""What was said, as span attributes: only for users who ask for it.

The shapes are those of the conventions' JSON schemas for ``gen_ai.input.messages`` and ``gen_ai.output.messages``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

import orjson

from cpa.conversation.events import Event
from cpa.conversation.parts import Part, Text, Thinking, ToolCall, ToolResult
from cpa.conversation.reply import Reply, fold
from cpa.conversation.request import Conversation
from cpa.errors import ApiError
from cpa.formats.codec import ReplyContext
from cpa.formats.registry import builtin_formats
from cpa.plugins import ExchangeRecord

LONGEST = 64 * 1024
"""Characters of one attribute; more is left out, the oldest messages first."""
MOST_OPEN = 4096
"""Requests whose answers are remembered at a time; a request that never ends is forgotten."""

Message = dict[str, Any]


class Answers:
    """Collects answers until their requests are over."""

    def __init__(self) -> None:
        self._formats = builtin_formats()
        self._open: OrderedDict[str, list[Event]] = OrderedDict()

    def whole(self, request_id: str, format_name: str, body: dict[str, Any]) -> None:
        """Note a whole answer in a client format."""
        if format_name in self._formats:
            self._events(request_id).extend(self._formats[format_name].decode_reply(body, ReplyContext()))

    def event(self, request_id: str, event: Event) -> None:
        """Note an event of a stream."""
        self._events(request_id).append(event)

    def _events(self, request_id: str) -> list[Event]:
        events = self._open.get(request_id)
        if events is None:
            events = self._open[request_id] = []
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        return events

    def take(self, record: ExchangeRecord) -> dict[str, str]:
        """The attributes for a request that is over."""
        events = self._open.pop(record.request_id, [])
        attributes = {}
        try:
            conversation = self._formats[record.format].decode_request(
                record.body, model=record.requested_model, stream=record.stream
            )
        except (ApiError, KeyError):
            pass
        else:
            attributes["gen_ai.input.messages"] = _limited(_said(conversation))
            instructions = [_part(part) for item in conversation.system for part in item.parts]
            if instructions:
                attributes["gen_ai.system_instructions"] = _limited(instructions)
        if events:
            attributes["gen_ai.output.messages"] = _limited(_answered(fold(events)))
        return attributes


def _limited(messages: list[Message]) -> str:
    """The newest messages as JSON, as many as an attribute may hold."""
    kept: list[bytes] = []
    size = 2
    for message in reversed(messages):
        text = orjson.dumps(message)
        size += len(text) + 1
        if size > LONGEST:
            break
        kept.append(text)
    return f"[{b','.join(reversed(kept)).decode()}]"


def _said(conversation: Conversation) -> list[Message]:
    return [{"role": turn.role, "parts": _parts(turn.parts)} for turn in conversation.turns]


def _parts(parts: Iterable[Part]) -> list[Message]:
    return [_part(part) for part in parts]


def _part(part: Part) -> Message:
    match part:
        case Text():
            return {"type": "text", "content": part.text}
        case Thinking():
            return {"type": "reasoning", "content": part.text}
        case ToolCall():
            return {"type": "tool_call", "id": part.call_id, "name": part.name, "arguments": part.arguments}
        case ToolResult():
            content = "".join(inner.text for inner in part.content if isinstance(inner, Text))
            return {"type": "tool_call_response", "id": part.call_id, "response": content or part.structured}
        case _:
            return {"type": type(part).__name__.lower()}


def _answered(reply: Reply) -> list[Message]:
    messages = []
    for choice in reply.choices():
        parts = []
        for block in reply.blocks:
            if block.choice != choice:
                continue
            if block.kind == "tool_call":
                parts.append(
                    {"type": "tool_call", "id": block.call_id, "name": block.name, "arguments": block.arguments}
                )
            elif block.kind in ("text", "refusal", "reasoning"):
                kind = "reasoning" if block.kind == "reasoning" else "text"
                parts.append({"type": kind, "content": block.text})
            else:
                parts.append({"type": block.kind})
        finish = reply.finishes.get(choice)
        messages.append(
            {"role": "assistant", "parts": parts, "finish_reason": finish.reason if finish is not None else "error"}
        )
    return messages
