"""Requests every format can express, made up, and what they ask for."""

from __future__ import annotations

from typing import Any

import orjson
from answers import WORDS
from hypothesis import strategies as st

from cpa.conversation.parts import Image, Part, Source, Text, ToolCall, ToolResult
from cpa.conversation.request import Conversation, Sampling, SystemItem, Tool, ToolChoice, Turn

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TEXTS = WORDS.map(lambda word: f"<{word}>")
"""Never blank: some vendors refuse white space."""
_SCHEMAS: st.SearchStrategy[Any] = st.sampled_from(
    [
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"city": {"type": "string", "description": "ü"}}, "required": ["city"]},
        {
            "type": "object",
            "properties": {"properties": {"type": "object", "properties": {"title": {"type": "integer"}}}},
        },
    ]
)
_ARGUMENTS = st.sampled_from(["{}", '{"city":"a"}', '{"n":[1,2.5,null],"ü":"\\u0000"}'])


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """A dialogue that ends with the user."""
    names = draw(st.lists(st.from_regex(r"[a-z]{1,4}", fullmatch=True), unique=True, max_size=3))
    tools = [Tool("function", name, draw(TEXTS), draw(_SCHEMAS)) for name in names]
    turns: list[Turn] = [Turn("user", draw(_said()))]
    for number in range(draw(st.integers(0, 3))):
        called: list[ToolCall] = []
        if names:
            picked = draw(st.lists(st.sampled_from(names), max_size=2))
            called = [ToolCall(name, draw(_ARGUMENTS), f"call_{number}_{at}") for at, name in enumerate(picked)]
        spoken: list[Part] = [Text(draw(TEXTS))] if not called or draw(st.booleans()) else []
        turns.append(Turn("assistant", [*spoken, *called]))
        results: list[Part] = [ToolResult(call.call_id, call.name, [Text(draw(TEXTS))]) for call in called]
        after = draw(_said()) if not results or draw(st.booleans()) else []
        turns.append(Turn("user", [*results, *after]))
    choices = [None, ToolChoice("auto"), ToolChoice("none"), ToolChoice("required")]
    choices += [ToolChoice("named", [name]) for name in names]
    return Conversation(
        format="",
        model="m",
        turns=turns,
        system=[SystemItem([Text(draw(TEXTS))])] if draw(st.booleans()) else [],
        tools=tools or None,
        tool_choice=draw(st.sampled_from(choices)) if tools else None,
        sampling=Sampling(
            temperature=draw(st.sampled_from([None, 0, 0.5, 1])), max_output_tokens=draw(st.integers(1, 9999))
        ),
    )


@st.composite
def _said(draw: st.DrawFn) -> list[Part]:
    parts: list[Part] = [Text(draw(TEXTS))]
    if draw(st.booleans()):
        parts.append(Image(Source(data=PNG, media_type="image/png")))
    return parts


def asked(conversation: Conversation) -> dict[str, Any]:
    """What a request asks for, without how its format writes it: turns of one role in a row count as one."""
    numbers: dict[str | None, int] = {}
    turns: list[tuple[str, list[Any]]] = []
    for turn in conversation.turns:
        parts = [_told(part, numbers) for part in turn.parts]
        if turns and turns[-1][0] == turn.role:
            turns[-1][1].extend(parts)
        else:
            turns.append((turn.role, parts))
    choice = conversation.tool_choice
    return {
        "system": [part.text for item in conversation.system for part in item.parts if isinstance(part, Text)],
        "turns": turns,
        "tools": [(tool.name, tool.description, _plain(tool.schema)) for tool in conversation.tools or ()],
        "choice": (choice.mode, choice.names) if choice else None,
        "temperature": conversation.sampling.temperature,
        "limit": conversation.sampling.max_output_tokens,
    }


def _plain(schema: Any) -> Any:
    """A schema without what Google's are given on their way to others."""
    if not isinstance(schema, dict):
        return schema
    return {key: _plain(value) for key, value in schema.items() if key not in ("additionalProperties", "$schema")}


def _told(part: Part, numbers: dict[str | None, int]) -> Any:
    """One part; a call and its result are told apart by the number of the call."""
    match part:
        case Text(text=text):
            return text
        case Image(source=source):
            return "image", source.media_type, source.data
        case ToolCall():
            number = numbers.setdefault(part.call_id, len(numbers))
            return "call", number, part.name, orjson.loads(part.arguments)
        case ToolResult():
            given = part.structured
            if isinstance(given, dict):
                given = given.get("result")
            return (
                "result",
                numbers.get(part.call_id),
                given or "".join(t.text for t in part.content if isinstance(t, Text)),
            )
    return part
