"""What a Gemini client asks, as the conversation understands it."""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.conversation.parts import (
    Audio,
    Document,
    Image,
    Opaque,
    ServerTool,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from cpa.conversation.request import Conversation, Reasoning
from cpa.errors import InvalidRequest
from cpa.formats.gemini import GeminiCliCodec, GeminiCodec

CODEC = GeminiCodec()


def decode(**body: Any) -> Conversation:
    body.setdefault("contents", [{"role": "user", "parts": [{"text": "hi"}]}])
    return CODEC.decode_request(body, model="m", stream=False)


def parts(*raw: Any) -> list[Any]:
    return decode(contents=[{"role": "user", "parts": list(raw)}]).turns[0].parts


def test_roles_of_every_spelling() -> None:
    roles = ["user", "model", "function", "assistant", "tool", None, None, "strange"]
    contents = [{"role": role, "parts": [{"text": "x"}]} if role else {"parts": [{"text": "x"}]} for role in roles]
    turns = decode(contents=contents).turns
    assert [turn.role for turn in turns] == [
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
        "assistant",
    ]


def test_parts_tell_the_role_when_it_is_missing() -> None:
    call = {"parts": [{"functionCall": {"name": "f"}}]}
    assert decode(contents=[call]).turns[0].role == "assistant"


@pytest.mark.parametrize("key", ["systemInstruction", "system_instruction"])
@pytest.mark.parametrize(
    "value", [{"parts": [{"text": "S"}]}, {"role": "user", "parts": {"text": "S"}}, "S", {"text": "S"}]
)
def test_system_instruction_in_every_shape(key: str, value: Any) -> None:
    [item] = decode(**{key: value}).system
    assert item.parts == [Text("S")]


def test_contents_may_be_one_object_or_a_string() -> None:
    assert decode(contents={"parts": [{"text": "a"}]}).turns[0].parts == [Text("a")]
    assert decode(contents="a").turns[0].parts == [Text("a")]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        ({"inlineData": {"mimeType": "image/png", "data": "AAAA"}}, Image),
        ({"inline_data": {"mime_type": "audio/mpeg", "data": "AAAA"}}, Audio),
        ({"inlineData": {"mime_type": "video/mp4", "data": "AAAA"}}, Video),
        ({"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}}, Document),
        ({"fileData": {"fileUri": "https://a/b.png"}}, Image),
        ({"file_data": {"file_uri": "gs://b/o", "mime_type": "application/pdf"}}, Document),
        ({"text": "t", "thought": True}, Thinking),
        ({"executable_code": {"language": "PYTHON", "code": "1"}}, ServerTool),
        ({"somethingNew": {"a": 1}}, Opaque),
    ],
)
def test_part_kinds(raw: dict[str, Any], kind: type) -> None:
    [part] = parts(raw)
    assert isinstance(part, kind)


def test_url_safe_base64_becomes_standard() -> None:
    [image] = parts({"inlineData": {"data": "-__-Pj8", "mime_type": "image/png"}})
    assert image.source.data == "+//+Pj8="


def test_null_holes_are_skipped() -> None:
    assert parts(None, {"text": "a"}, None) == [Text("a")]


@pytest.mark.parametrize("key", ["id", "call_id", "callId"])
def test_call_ids_of_every_spelling(key: str) -> None:
    call, result = parts(
        {"functionCall": {"name": "f", "args": {"a": 1}, key: "c1"}, "thought_signature": "Cg=="},
        {"function_response": {"name": "f", "response": {"result": "ok"}, key: "c1"}},
    )
    assert call == ToolCall("f", '{"a":1}', call_id="c1", signature="Cg==")
    assert result.call_id == "c1"


def test_call_without_args() -> None:
    assert parts({"functionCall": {"name": "f"}}) == [ToolCall("f", "{}")]


@pytest.mark.parametrize(
    ("response", "content", "structured", "is_error"),
    [
        ({"result": "42"}, [Text("42")], None, False),
        ({"output": "42"}, [Text("42")], None, False),
        ({"result": {"a": 1}}, [], {"a": 1}, False),
        ({"a": 1, "b": 2}, [], {"a": 1, "b": 2}, False),
        ({"error": "boom"}, [Text("boom")], None, True),
        ({"result": ""}, [], None, False),
        (None, [], None, False),
        ("plain", [Text("plain")], None, False),
    ],
)
def test_function_responses(response: Any, content: list[Any], structured: Any, is_error: bool) -> None:
    [result] = parts({"functionResponse": {"name": "f", "response": response}})
    assert (result.content, result.structured, result.is_error) == (content, structured, is_error)


def test_media_in_a_function_response() -> None:
    raw = {
        "name": "f",
        "response": {"a": 1, "b": 2},
        "parts": [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}],
    }
    [result] = parts({"functionResponse": raw})
    assert isinstance(result, ToolResult)
    assert [type(piece) for piece in result.content] == [Text, Image]
    assert result.structured is None


def test_tools_in_both_spellings() -> None:
    tools = decode(
        tools=[
            {"functionDeclarations": [{"name": "f", "description": "d", "parameters": {"type": "OBJECT"}}]},
            {"function_declarations": [{"name": "g", "parameters_json_schema": {"type": "object"}}]},
            {"googleSearch": {}, "code_execution": {}},
        ]
    ).tools
    assert tools is not None
    assert [(tool.kind, tool.name) for tool in tools] == [
        ("function", "f"),
        ("function", "g"),
        ("builtin", "google_search"),
        ("builtin", "code_execution"),
    ]
    assert tools[0].schema == {"type": "object"}


def test_absent_and_empty_tools_differ() -> None:
    assert decode().tools is None
    assert decode(tools=[]).tools == []


@pytest.mark.parametrize(
    ("config", "mode", "names", "required"),
    [
        ({"mode": "AUTO"}, "auto", [], False),
        ({"mode": "NONE"}, "none", [], False),
        ({"mode": "ANY"}, "required", [], False),
        ({"mode": "any", "allowed_function_names": ["f"]}, "named", ["f"], False),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, "allowed", ["f", "g"], True),
        ({"mode": "VALIDATED", "allowedFunctionNames": ["f"]}, "allowed", ["f"], False),
    ],
)
def test_tool_choice(config: dict[str, Any], mode: str, names: list[str], required: bool) -> None:
    for body in (
        {"toolConfig": {"functionCallingConfig": config}},
        {"tool_config": {"function_calling_config": config}},
    ):
        choice = decode(**body).tool_choice
        assert choice is not None
        assert (choice.mode, choice.names, choice.required) == (mode, names, required)


@pytest.mark.parametrize(
    ("thinking", "expected"),
    [
        ({"thinkingBudget": 0}, Reasoning(mode="off")),
        ({"thinking_budget": -1}, Reasoning(mode="auto")),
        (
            {"thinkingBudget": 1024, "includeThoughts": True},
            Reasoning(mode="budget", budget=1024, include_thoughts=True),
        ),
        ({"thinkingLevel": "HIGH", "thinkingBudget": 5}, Reasoning(mode="level", level="high")),
        ({"include_thoughts": False}, Reasoning(include_thoughts=False)),
    ],
)
def test_reasoning(thinking: dict[str, Any], expected: Reasoning) -> None:
    assert CODEC.read_reasoning({"generationConfig": {"thinkingConfig": thinking}}) == expected
    assert CODEC.read_reasoning({"generation_config": {"thinking_config": thinking}}) == expected
    wrapped = {"request": {"generationConfig": {"thinkingConfig": thinking}}}
    assert GeminiCliCodec().read_reasoning(wrapped) == expected


def test_generation_config() -> None:
    conversation = decode(
        generation_config={
            "temperature": 1,
            "top_p": 0.9,
            "topK": 40.0,
            "maxOutputTokens": "100",
            "stop_sequences": ["X"],
            "seed": 7,
            "responseMimeType": "application/json",
            "responseSchema": {"type": "OBJECT", "properties": {"a": {"type": "STRING", "nullable": True}}},
            "responseModalities": ["TEXT", "IMAGE"],
            "imageConfig": {"aspectRatio": "1:1"},
        },
        labels={"a": "b"},
    )
    sampling = conversation.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (1, 0.9, 40)
    assert (sampling.max_output_tokens, sampling.stop, sampling.seed) == (100, ["X"], 7)
    assert conversation.output_format is not None
    assert conversation.output_format.kind == "json_schema"
    assert conversation.output_format.schema == {
        "type": "object",
        "properties": {"a": {"type": ["string", "null"]}},
    }
    assert conversation.modalities == ["text", "image"]
    assert conversation.image_config == {"aspect_ratio": "1:1"}
    assert conversation.extras == {"labels": {"a": "b"}}


def test_a_property_named_type_is_not_a_type() -> None:
    schema = {"type": "OBJECT", "properties": {"type": {"type": "STRING", "enum": ["A"]}}}
    tools = decode(tools=[{"functionDeclarations": [{"name": "f", "parameters": schema}]}]).tools
    assert tools is not None
    assert tools[0].schema["properties"] == {"type": {"type": "string", "enum": ["A"]}}


def test_safety_settings_absent_and_empty_differ() -> None:
    assert decode().safety_settings is None
    assert decode(safety_settings=[]).safety_settings == []


def test_cli_envelope() -> None:
    body = {"model": "gemini-x", "project": "p", "request": {"contents": [{"role": "user", "parts": [{"text": "a"}]}]}}
    conversation = GeminiCliCodec().decode_request(body, model="gemini-x", stream=True)
    assert conversation.format == "gemini-cli"
    assert conversation.turns[0].parts == [Text("a")]


def test_count_request_with_the_whole_request_inside() -> None:
    body = {"generateContentRequest": {"model": "models/m", "contents": [{"parts": [{"text": "a"}]}]}}
    assert CODEC.decode_request(body, model="m", stream=False).turns[0].parts == [Text("a")]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "contents"),
        ({"contents": 3}, "contents"),
        ({"contents": [3]}, "contents[0]"),
        ({"contents": [{"role": "user", "parts": [3]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"inlineData": {"data": 3}}]}]}, "contents[0].parts[0].inlineData.data"),
        ({"contents": [], "generationConfig": {"temperature": "warm"}}, "generationConfig.temperature"),
        ({"contents": [], "generationConfig": []}, "generationConfig"),
        ({"contents": [], "tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"contents": [], "toolConfig": 1}, "toolConfig"),
    ],
)
def test_wrong_types_name_the_member(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        CODEC.decode_request(body, model="m", stream=False)
    assert caught.value.error.status == 400
    assert caught.value.error.param == param


_WORDS = """
contents parts role text functionCall functionResponse name response inlineData data tools functionDeclarations
generationConfig thinkingConfig systemInstruction toolConfig functionCallingConfig parameters type safetySettings
fileData fileUri
"""
_MEMBERS = _WORDS.split()

_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_MEMBERS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(["contents", "tools", "systemInstruction", "generationConfig"]), _json))
def test_any_json_decodes_or_is_refused(body: dict[str, Any]) -> None:
    before = orjson.dumps(body)
    with contextlib.suppress(InvalidRequest):
        CODEC.decode_request(body, model="m", stream=False)
    assert orjson.dumps(body) == before
