"""Chat Completions requests, read, written and adapted."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.conversation.parts import Audio, Document, Image, Opaque, Source, Text, Thinking, ToolCall, ToolResult, Video
from cpa.conversation.request import Conversation, OutputFormat, Reasoning, Tool, ToolChoice
from cpa.errors import InvalidRequest
from cpa.formats.claude import ClaudeCodec
from cpa.formats.codec import Target
from cpa.formats.openai import OpenAICodec
from cpa.formats.openai.completions import to_chat_request
from cpa.formats.openai_response import OpenAIResponseCodec

CODEC = OpenAICodec()
TARGET = Target("up", "openai")
Object = dict[str, Any]
USER: Object = {"role": "user", "content": "x"}


def read(*messages: Any, **body: Any) -> Conversation:
    return CODEC.decode_request({"messages": list(messages) or [USER], **body}, model="m", stream=False)


def write(conversation: Conversation, reasoning: ResolvedReasoning = KEEP, **target: Any) -> Object:
    return CODEC.encode_request(conversation, Target("up", "openai", **target), reasoning).body


def again(*messages: Any, **body: Any) -> Object:
    """A body read and written again."""
    return write(read(*messages, **body))


def from_claude(*messages: Any, **body: Any) -> Object:
    conversation = ClaudeCodec().decode_request({"messages": list(messages), **body}, model="m", stream=False)
    return CODEC.encode_request(conversation, TARGET, KEEP).body


# -- reading -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("hi", Text("hi")),
        ([{"type": "text", "text": "hi"}], Text("hi")),
        (["hi"], Text("hi")),
        (7, Text("7")),
        ({"type": "text", "text": "hi"}, Text("hi")),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}}],
            Image(Source(data="AAAA", media_type="image/png"), detail="high"),
        ),
        (
            [{"type": "image_url", "image_url": "https://h.example/i.png"}],
            Image(Source(url="https://h.example/i.png")),
        ),
        (
            [{"type": "image_url", "image_url": {"url": "data:;base64,iVBORw0KGgo="}}],
            Image(Source(data="iVBORw0KGgo=", media_type="image/png")),
        ),
        (
            [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}],
            Audio(Source(data="AAAA", media_type="audio/mpeg"), format="mp3"),
        ),
        (
            [{"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}}],
            Document(Source(data="AAAA", media_type="application/pdf"), filename="a.pdf"),
        ),
        (
            [{"type": "file", "file": {"filename": "a.md", "file_data": "AAAA"}}],
            Document(Source(data="AAAA", media_type="text/markdown"), filename="a.md"),
        ),
        ([{"type": "file", "file": {"file_id": "file-1"}}], Document(Source(file_id="file-1"))),
        (
            [{"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}],
            Video(Source(data="AAAA", media_type="video/mp4")),
        ),
        ([{"type": "hologram", "x": 1}], Opaque("hologram", {"type": "hologram", "x": 1}, "openai")),
    ],
)
def test_content_of_every_kind_is_read(content: Any, part: Any) -> None:
    assert read({"role": "user", "content": content}).turns[0].parts == [part]


def test_a_dialogue_is_read_in_order() -> None:
    conversation = read(
        {"role": "system", "content": "S"},
        USER,
        {"role": "developer", "content": "D"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
                {"id": "call_2", "type": "custom", "custom": {"name": "p", "input": "raw"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "done"}]},
        {"role": "user", "name": "bob", "content": "go on"},
    )
    assert [(item.origin, item.position) for item in conversation.system] == [("system", 0), ("developer", 1)]
    user, assistant, results, last = conversation.turns
    assert user.parts == [Text("x")]
    assert assistant.parts == [
        Thinking("hm"),
        ToolCall("f", '{"a": 1}', "call_1"),
        ToolCall("p", "raw", "call_2", kind="custom"),
    ]
    assert results.parts == [ToolResult("call_1", None, [Text("42")]), ToolResult("call_2", None, [Text("done")])]
    assert (last.name, last.parts) == ("bob", [Text("go on")])


def test_legacy_functions_are_tools() -> None:
    call = {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}
    conversation = read(
        USER, call, {"role": "function", "name": "f", "content": "1"}, functions=[{"name": "f"}], function_call="auto"
    )
    assert [tool.name for tool in conversation.tools or []] == ["f"]
    assert conversation.tool_choice == ToolChoice("auto")
    written = write(conversation)["messages"]
    assert written[1]["tool_calls"][0]["id"] == written[2]["tool_call_id"]


@pytest.mark.parametrize(
    ("member", "value", "reasoning"),
    [
        ("reasoning_effort", "Medium", Reasoning("level", level="medium")),
        ("reasoning_effort", "none", Reasoning("off")),
        ("reasoning_effort", "auto", Reasoning("auto")),
        ("reasoning_effort", "", Reasoning()),
        ("reasoning_effort", None, Reasoning()),
        ("reasoning", {"effort": "low"}, Reasoning("level", level="low")),
        ("reasoning", {"max_tokens": 99}, Reasoning("budget", budget=99)),
    ],
)
def test_effort_is_read_in_every_spelling(member: str, value: Any, reasoning: Reasoning) -> None:
    assert read(**{member: value}).reasoning == reasoning


@pytest.mark.parametrize(
    ("body", "stop", "limit"),
    [
        ({"stop": "X", "max_tokens": 5}, ["X"], 5),
        ({"stop": ["X", "Y"], "max_completion_tokens": 6, "max_tokens": 5}, ["X", "Y"], 6),
        ({"stop": "", "max_completion_tokens": None}, None, None),
    ],
)
def test_limits_are_read_in_every_spelling(body: Object, stop: Any, limit: Any) -> None:
    sampling = read(**body).sampling
    assert (sampling.stop, sampling.max_output_tokens) == (stop, limit)


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ({"type": "text"}, OutputFormat("text")),
        ({"type": "json_object"}, OutputFormat("json_object")),
        (
            {"type": "json_schema", "json_schema": {"name": "o", "schema": {"type": "object"}, "strict": True}},
            OutputFormat("json_schema", "o", {"type": "object"}, True),
        ),
    ],
)
def test_structured_output_is_read_and_written(raw: Object, wanted: OutputFormat) -> None:
    conversation = read(response_format=raw)
    assert conversation.output_format == wanted
    assert write(conversation)["response_format"] == raw


@pytest.mark.parametrize(
    ("raw", "choice"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", ["f"])),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]},
            },
            ToolChoice("allowed", ["f"], required=True),
        ),
    ],
)
def test_tool_choice_is_read_and_written(raw: Any, choice: ToolChoice) -> None:
    conversation = read(tools=[{"type": "function", "function": {"name": "f"}}], tool_choice=raw)
    assert conversation.tool_choice == choice
    assert write(conversation)["tool_choice"] == raw


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "messages must be a list"),
        ({"messages": ["x"]}, r"messages\[0\] must be an object"),
        ({"messages": [{"role": "user", "content": [3]}]}, r"messages\[0\].content\[0\] must be an object"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "image_url.url is required"),
        ({"messages": [], "tools": "x"}, "tools must be a list"),
        ({"messages": [], "tools": [{"type": "function"}]}, "function.name is required"),
        ({"messages": [], "temperature": "hot"}, "temperature must be a number"),
        ({"messages": [], "seed": 1.5}, "seed must be an integer"),
    ],
)
def test_what_is_no_chat_request_is_refused_by_name(body: Object, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        CODEC.decode_request(body, model="m", stream=False)


_LOOSE = st.recursive(
    st.none() | st.integers() | st.sampled_from(["user", "tool", "assistant", "function", "text", "f", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "tool_calls", "function", "name", "arguments", "id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
_TOP = ["messages", "tools", "tool_choice", "response_format", "reasoning", "stop", "stream_options", "modalities"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(_TOP), _LOOSE, max_size=5))
def test_any_json_is_read_or_refused(body: Object) -> None:
    before = copy.deepcopy(body)
    with contextlib.suppress(InvalidRequest):
        conversation = CODEC.decode_request(body, model="m", stream=False)
        CODEC.encode_request(conversation, TARGET, KEEP)
        ClaudeCodec().encode_request(conversation, Target("up", "claude"), KEEP)
    CODEC.adapt_native(body, TARGET, KEEP)
    assert body == before


# -- writing -------------------------------------------------------------------------------------------------


def test_a_body_that_is_read_is_written_as_it_was() -> None:
    body: Object = {
        "messages": [
            {"role": "system", "content": "S"},
            {"role": "developer", "content": "D"},
            {
                "role": "user",
                "name": "bob",
                "content": [
                    {"type": "text", "text": "hi"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "high"}},
                    {"type": "image_url", "image_url": {"url": "https://h.example/i.png"}},
                    {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
                    {"type": "hologram", "x": 1},
                ],
            },
            {
                "role": "assistant",
                "content": "ok",
                "reasoning_content": "because",
                "tool_calls": [
                    {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1.0}'}}
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "42"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "f",
                    "description": "d",
                    "parameters": {"type": "object", "properties": {}},
                    "strict": True,
                },
            }
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "max_tokens": 9,
        "seed": 7,
        "stop": ["X", "Y"],
        "top_k": 3,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "user": "u",
        "verbosity": "low",
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "provider": {"order": ["a"]},
    }
    rest = {name: value for name, value in body.items() if name != "messages"}
    assert again(*body["messages"], **rest) == {"model": "up", **body}


def test_a_stream_is_asked_for_with_its_usage() -> None:
    body = write(read(), stream=True)
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})
    assert "stream" not in write(read())


@pytest.mark.parametrize(
    ("resolved", "effort"),
    [
        (KEEP, None),
        (ResolvedReasoning("strip"), None),
        (ResolvedReasoning("level", level="high"), "high"),
        (ResolvedReasoning("off"), "none"),
        (ResolvedReasoning("off", level="minimal"), "minimal"),
        (ResolvedReasoning("auto"), "auto"),
    ],
)
def test_effort_is_written_as_it_was_resolved(resolved: ResolvedReasoning, effort: str | None) -> None:
    assert write(read(), resolved).get("reasoning_effort") == effort
    native = CODEC.adapt_native({"messages": [], "reasoning_effort": "low"}, TARGET, resolved).body
    assert native.get("reasoning_effort") == ("low" if resolved is KEEP else effort)


def test_tools_of_other_formats_become_functions() -> None:
    conversation = OpenAIResponseCodec().decode_request(
        {
            "input": "x",
            "tools": [
                {"type": "custom", "name": "patch", "description": "d", "format": {"type": "text"}},
                {"type": "namespace", "name": "mcp__srv__", "tools": [{"type": "function", "name": "x"}]},
                {"type": "web_search"},
            ],
            "tool_choice": {"type": "custom", "name": "patch"},
        },
        model="m",
        stream=False,
    )
    encoded = CODEC.encode_request(conversation, TARGET, KEEP)
    assert [tool["function"]["name"] for tool in encoded.body["tools"]] == ["patch", "mcp__srv__x"]
    assert encoded.body["tools"][0]["function"]["parameters"]["required"] == ["input"]
    assert encoded.body["tool_choice"] == {"type": "function", "function": {"name": "patch"}}
    assert encoded.names.identity("patch").wrapped
    assert (encoded.names.identity("mcp__srv__x").name, encoded.names.identity("mcp__srv__x").namespace) == (
        "x",
        "mcp__srv__",
    )


def test_a_messages_dialogue_is_written_as_chat() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    body = from_claude(
        {"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "Eq"},
                {"type": "text", "text": "b"},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}},
                {"type": "tool_use", "id": "toolu_2", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": "no"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "t"}, picture]},
                {"type": "text", "text": "c"},
            ],
        },
        system=[{"type": "text", "text": "S"}, {"type": "text", "text": " "}],
        stop_sequences=["X"],
        max_tokens=9,
        top_k=5,
        tools=[
            {"name": "f", "input_schema": {"type": "object"}},
            {"type": "web_search_20250305", "name": "web_search"},
        ],
        tool_choice={"type": "none"},
    )
    assert [message["role"] for message in body["messages"]] == ["system", "user", "assistant", "tool", "tool", "user"]
    assistant, first, second = body["messages"][2:5]
    assert (assistant["reasoning_content"], assistant["content"]) == ("hm", "b")
    assert [call["function"]["arguments"] for call in assistant["tool_calls"]] == ['{"a":1}', "{}"]
    assert first["content"] == "Error: no"
    assert second["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert b"cache_control" not in repr(body).encode()
    assert (body["stop"], body["tool_choice"], len(body["tools"])) == ("X", "none", 1)
    assert "top_k" not in body


def test_members_of_this_format_alone_go_to_no_other() -> None:
    conversation = read(logit_bias={"1": 2}, provider={"order": []}, seed=3)
    body = ClaudeCodec().encode_request(conversation, Target("up", "claude"), KEEP).body
    assert not {"logit_bias", "provider", "seed"} & set(body)


# -- the same format on both sides ---------------------------------------------------------------------------


def test_a_body_for_the_same_format_keeps_everything_but_the_model() -> None:
    messages = [USER, {"role": "user", "content": [{"type": "unheard", "x": 1}]}]
    body: Object = {"model": "alias", "messages": messages, "unknown": {"deep": [1.0]}, "stream_options": {"x": 1}}
    adapted = CODEC.adapt_native(body, Target("up", "openai", stream=True), KEEP).body
    assert adapted["messages"] is messages
    assert list(adapted) == ["model", "messages", "unknown", "stream_options", "stream"]
    assert adapted["stream_options"] == {"x": 1, "include_usage": True}
    assert (body["model"], body["stream_options"]) == ("alias", {"x": 1})
    assert CODEC.adapt_native({**body, "stream": True}, TARGET, KEEP).body["stream"] is False


@pytest.mark.parametrize(
    ("prompt", "content"),
    [("Say hi", "Say hi"), (["a", "b"], "a\nb"), ("", "Complete this:"), (None, "Complete this:")],
)
def test_a_prompt_becomes_a_message(prompt: Any, content: str) -> None:
    chat = to_chat_request({"model": "m", "prompt": prompt, "logprobs": 3, "n": 2, "suffix": "s", "seed": 1})
    assert chat == {
        "model": "m",
        "n": 2,
        "seed": 1,
        "messages": [{"role": "user", "content": content}],
        "logprobs": True,
        "top_logprobs": 3,
    }


@pytest.mark.parametrize("prompt", [[1, 2], [["a"]], {"a": 1}])
def test_a_prompt_of_tokens_is_refused(prompt: Any) -> None:
    with pytest.raises(InvalidRequest, match="prompt must be a string or a list of strings"):
        to_chat_request({"prompt": prompt})


def test_texts_calls_and_tools_are_counted_and_pictures_are_not() -> None:
    text = CODEC.countable_text(
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": "AAAA"}],
                }
            ],
            "tools": [{"name": "lookup"}],
        }
    )
    assert "hello" in text
    assert "lookup" in text
    assert "AAAA" not in text


def test_a_builtin_of_this_format_stays_and_search_options_are_a_tool() -> None:
    conversation = read(tools=[{"google_search": {}}], web_search_options={"search_context_size": "low"})
    assert [(tool.kind, tool.name) for tool in conversation.tools or []] == [
        ("builtin", "google_search"),
        ("builtin", "web_search"),
    ]
    assert isinstance((conversation.tools or [])[0], Tool)
    assert write(conversation)["tools"] == [{"google_search": {}}]
