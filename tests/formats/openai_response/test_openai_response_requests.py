"""Responses requests, read, written and adapted."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.conversation.parts import Text, Thinking, ToolCall, ToolResult
from cpa.conversation.request import Conversation
from cpa.errors import InvalidRequest
from cpa.formats.codec import Target
from cpa.formats.openai import OpenAICodec
from cpa.formats.openai_response import CodexCodec, OpenAIResponseCodec

CODEC, CODEX = OpenAIResponseCodec(), CodexCodec()
TO_CODEX = Target("gpt-5.4", "codex", stream=True)
TO_PUBLIC = Target("gpt-5.4", "openai-response", stream=True)
Object = dict[str, Any]


def read(**body: Any) -> Conversation:
    return CODEC.decode_request(body, model="m", stream=False)


def native(target: Target = TO_CODEX, **body: Any) -> Object:
    return CODEX.adapt_native(body, target, KEEP).body


def from_chat(**body: Any) -> Object:
    conversation = OpenAICodec().decode_request(body, model="m", stream=False)
    return CODEX.encode_request(conversation, TO_CODEX, KEEP).body


ITEMS: list[Object] = [
    {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "D"}]},
    {"role": "user", "content": "hi"},
    {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "encrypted_content": "x"},
    {"type": "message", "role": "assistant", "id": "msg_1", "content": [{"type": "output_text", "text": "ok"}]},
    {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}", "namespace": "ns"},
    {"type": "custom_tool_call", "call_id": "call_2", "name": "patch", "input": "*** Begin"},
    {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    {"type": "custom_tool_call_output", "call_id": "call_2", "output": "done"},
]


def test_items_become_turns() -> None:
    conversation = read(input=ITEMS, instructions="S")
    assert [item.origin for item in conversation.system] == ["instructions", "developer"]
    user, assistant, results = conversation.turns
    assert user.parts == [Text("hi")]
    thinking, text, call, custom = assistant.parts
    assert isinstance(thinking, Thinking)
    assert thinking.signature == "x"
    assert text == Text("ok")
    assert isinstance(call, ToolCall)
    assert (call.namespace, call.call_id) == ("ns", "call_1")
    assert isinstance(custom, ToolCall)
    assert (custom.kind, custom.arguments) == ("custom", "*** Begin")
    assert [part.call_id for part in results.parts if isinstance(part, ToolResult)] == ["call_1", "call_2"]


def test_what_is_read_is_written_again() -> None:
    encoded = CODEC.encode_request(read(input=ITEMS, instructions="S"), TO_PUBLIC, KEEP).body
    assert encoded["instructions"] == "S"
    kinds = [item["type"] for item in encoded["input"]]
    assert kinds == [
        "message",
        "message",
        "message",
        "function_call",
        "custom_tool_call",
        "function_call_output",
        "custom_tool_call_output",
    ]
    assert encoded["input"][3]["namespace"] == "ns"
    assert encoded["input"][4]["input"] == "*** Begin"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TYPES = [
    "message",
    "reasoning",
    "function_call",
    "function_call_output",
    "web_search_call",
    "input_text",
    "input_image",
]
MEMBERS = ["type", "role", "content", "summary", "output", "arguments", "name", "call_id", "text", "tools", "image_url"]
LOOSE = st.recursive(
    JSON | st.sampled_from(TYPES),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4),
    max_leaves=12,
)
TOP = ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "temperature", "metadata"]


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from(TOP), LOOSE, max_size=6))
def test_any_json_is_read_or_refused(body: Object) -> None:
    with contextlib.suppress(InvalidRequest):
        conversation = CODEC.decode_request(body, model="m", stream=False)
        CODEX.encode_request(conversation, TO_CODEX, KEEP)
    before = copy.deepcopy(body)
    with contextlib.suppress(InvalidRequest):
        CODEX.adapt_native(body, TO_CODEX, KEEP)
    assert body == before


def test_the_codex_backend_gets_only_what_it_takes() -> None:
    body = native(
        input="hello",
        temperature=0.2,
        max_output_tokens=9,
        previous_response_id="resp_9",
        truncation="auto",
        user="u",
        service_tier="auto",
        store=True,
        unknown=1,
        stream=False,
    )
    assert body == {
        "model": "gpt-5.4",
        "instructions": "",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "parallel_tool_calls": True,
        "unknown": 1,
    }


def test_native_items_are_repaired_one_by_one() -> None:
    kept: Object = {"type": "message", "role": "user", "content": "x"}
    items = [
        {"role": "system", "content": "S"},
        kept,
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "EgAA", "summary": []},
        {"type": "function_call_output", "call_id": "nobody", "output": "x"},
    ]
    body = native(input=items)
    assert body["input"][0]["role"] == "developer"
    assert body["input"][1] is kept
    assert body["input"][2] == {"type": "reasoning", "summary": []}
    assert len(body["input"]) == 3


def test_long_names_and_ids_of_a_native_client() -> None:
    name, long_id = "n" * 70, "call_" + "x" * 70
    body = native(
        input=[
            {"type": "function_call", "call_id": long_id, "name": name, "arguments": "{}"},
            {"type": "function_call_output", "call_id": long_id, "output": ""},
        ],
        tools=[{"type": "function", "name": name}],
    )
    assert body["tools"][0]["name"] == name
    assert len(body["input"][0]["call_id"]) <= 64
    assert body["input"][0]["call_id"] == body["input"][1]["call_id"]


def test_web_search_has_one_name() -> None:
    choice = {"type": "allowed_tools", "tools": [{"type": "web_search_preview"}]}
    body = native(input="x", tools=[{"type": "web_search_preview_2025_03_11"}], tool_choice=choice)
    assert body["tools"] == [{"type": "web_search"}]
    assert body["tool_choice"]["tools"] == [{"type": "web_search"}]
    assert choice["tools"] == [{"type": "web_search_preview"}]


def test_a_compaction_is_no_stream() -> None:
    target = Target("m", "codex", operation="compact")
    assert "stream" not in native(target, input="x", stream=False)
    with pytest.raises(InvalidRequest, match="Streaming not supported"):
        native(target, input="x", stream=True)


def test_a_chat_dialogue_for_the_codex_backend() -> None:
    body = from_chat(
        messages=[
            {"role": "system", "content": "S"},
            {"role": "user", "content": "Weather?"},
            {
                "role": "assistant",
                "content": "Let me check.",
                "tool_calls": [{"id": "call_a", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "call_a", "content": "rainy"},
        ],
        tools=[{"type": "function", "function": {"name": "w"}}],
        temperature=1,
        max_tokens=5,
    )
    assert [(item["type"], item.get("role")) for item in body["input"]] == [
        ("message", "developer"),
        ("message", "user"),
        ("message", "assistant"),
        ("function_call", None),
        ("function_call_output", None),
    ]
    assert body["reasoning"] == {"effort": "medium", "summary": "auto"}
    assert body["tools"] == [{"type": "function", "name": "w", "parameters": {"type": "object", "properties": {}}}]
    assert not {"temperature", "max_tokens", "max_output_tokens", "messages"} & set(body)
    assert (body["stream"], body["store"], body["instructions"]) == (True, False, "")


def test_long_tool_names_stay_apart_and_come_back() -> None:
    names = ["n" * 64 + "a", "n" * 64 + "b", "mcp__server__" + "x" * 60]
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    messages = [{"role": "user", "content": "x"}]
    conversation = OpenAICodec().decode_request({"messages": messages, "tools": tools}, model="m", stream=False)
    encoded = CODEX.encode_request(conversation, TO_CODEX, KEEP)
    sent = [tool["name"] for tool in encoded.body["tools"]]
    assert len(set(sent)) == 3
    assert all(len(name) <= 64 for name in sent)
    assert [encoded.names.identity(name).name for name in sent] == names


@pytest.mark.parametrize(
    ("reasoning", "expected"),
    [
        (ResolvedReasoning("level", level="high"), {"effort": "high", "summary": "auto"}),
        (ResolvedReasoning("off", level="none"), {"effort": "none", "summary": "auto"}),
        (ResolvedReasoning("strip"), None),
    ],
)
def test_reasoning_is_written_as_resolved(reasoning: ResolvedReasoning, expected: Any) -> None:
    conversation = OpenAICodec().decode_request({"messages": []}, model="m", stream=False)
    assert CODEX.encode_request(conversation, TO_CODEX, reasoning).body.get("reasoning") == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [({"input": 5}, "input"), ({"input": [5]}, "input[0]"), ({"tools": {}, "input": "x"}, "tools")],
)
def test_a_wrong_type_names_its_member(body: Object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(**body)
    assert refused.value.error.param == param


def test_namespaces_are_read_apart() -> None:
    tools = [{"type": "namespace", "name": "mcp__srv__", "tools": [{"type": "function", "name": "x"}]}]
    conversation = read(input="x", tools=tools)
    assert conversation.tools is not None
    assert (conversation.tools[0].namespace, conversation.tools[0].name) == ("mcp__srv__", "x")
    encoded = CODEC.encode_request(conversation, TO_PUBLIC, KEEP).body
    assert encoded["tools"][0]["type"] == "namespace"
    assert encoded["tools"][0]["tools"][0]["name"] == "x"


def test_a_dialogue_kept_elsewhere_is_not_found() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(input="x", previous_response_id="resp_1")
    assert refused.value.error.code == "previous_response_not_found"
    assert refused.value.error.status == 400
