"""What Gemini is asked on behalf of clients of other formats."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from google.genai import types
from hypothesis import given, settings
from hypothesis import strategies as st

from cpa.conversation.effort import KEEP, ResolvedReasoning
from cpa.conversation.models import ModelLimits, ThinkingSupport
from cpa.conversation.parts import (
    Audio,
    Document,
    Image,
    Opaque,
    Part,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from cpa.conversation.request import (
    Conversation,
    OutputFormat,
    Reasoning,
    Sampling,
    SystemItem,
    Tool,
    ToolChoice,
    Turn,
)
from cpa.errors import InvalidRequest
from cpa.formats.codec import EncodedRequest, Target
from cpa.formats.gemini import GeminiCliCodec, GeminiCodec

CODEC = GeminiCodec()
SENTINEL = "skip_thought_signature_validator"
OWN = "CskBAXLI2nw="
CLAUDE = "EqQBCkYIARgCKkA="


def user(*parts: Part | str) -> Turn:
    return Turn("user", [Text(part) if isinstance(part, str) else part for part in parts])


def assistant(*parts: Part | str) -> Turn:
    return Turn("assistant", [Text(part) if isinstance(part, str) else part for part in parts])


def encode(
    *turns: Turn, quirks: tuple[str, ...] = (), operation: Any = "generate", client: str = "openai", **members: Any
) -> EncodedRequest:
    conversation = Conversation(format=client, model="m", turns=list(turns or [user("hi")]), **members)
    target = Target("gemini-2.5-pro", "gemini", quirks=frozenset(quirks), operation=operation)
    return CODEC.encode_request(conversation, target, KEEP)


def body(*turns: Turn, **members: Any) -> dict[str, Any]:
    return encode(*turns, **members).body


def tool(name: str, schema: Any = None, **members: Any) -> Tool:
    return Tool(members.pop("kind", "function"), name, schema=schema, **members)


def test_system_items_become_the_system_instruction() -> None:
    system = [SystemItem([Text("A")]), SystemItem([Text("B")], origin="developer", position=1), SystemItem([Text("")])]
    assert body(system=system)["systemInstruction"] == {"parts": [{"text": "A"}, {"text": "B"}]}


def test_only_instructions_are_said_by_the_user() -> None:
    conversation = Conversation("openai", "m", [], system=[SystemItem([Text("S")])])
    encoded = CODEC.encode_request(conversation, Target("m", "gemini"), KEEP).body
    assert encoded["contents"] == [{"role": "user", "parts": [{"text": "S"}]}]
    assert "systemInstruction" not in encoded


def test_accounting_line_of_claude_code_is_left_out() -> None:
    system = [SystemItem([Text("x-anthropic-billing-header: cc_version=2.1;"), Text("real")])]
    assert body(system=system, client="claude")["systemInstruction"] == {"parts": [{"text": "real"}]}


def test_an_empty_dialogue_is_refused() -> None:
    conversation = Conversation("openai", "m", [])
    with pytest.raises(InvalidRequest):
        CODEC.encode_request(conversation, Target("m", "gemini"), KEEP)
    assert CODEC.encode_count_request(conversation, Target("m", "gemini"))["generateContentRequest"]["contents"] == []


def test_turns_of_one_role_are_merged_and_empty_text_goes() -> None:
    contents = body(user("", "a"), user("b"), assistant(""), assistant("c"))["contents"]
    assert contents == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}]},
    ]


def test_the_user_begins() -> None:
    assert body(assistant("a"), user("b"))["contents"][0] == {"role": "user", "parts": [{"text": " "}]}


def test_parallel_results_in_call_order_after_their_calls() -> None:
    contents = body(
        user("q"),
        assistant("t", ToolCall("f", '{"a":1}', "c1"), ToolCall("g", "{}", "c2")),
        user(ToolResult("c2", content=[Text("two")]), ToolResult("c1", content=[Text("one")]), "and"),
    )["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user", "user"]
    assert contents[1]["parts"] == [
        {"text": "t"},
        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}, "thoughtSignature": SENTINEL},
        {"functionCall": {"name": "g", "args": {}, "id": "c2"}},
    ]
    assert contents[2]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"result": "one"}, "id": "c1"}},
        {"functionResponse": {"name": "g", "response": {"result": "two"}, "id": "c2"}},
    ]
    assert contents[3]["parts"] == [{"text": "and"}]


def test_vertex_gets_no_call_ids() -> None:
    encoded = body(user("q"), assistant(ToolCall("f", "{}", "c1")), user(ToolResult("c1")), quirks=("vertex",))
    assert b'"id"' not in orjson.dumps(encoded)


def test_missing_result_is_empty_and_trailing_call_goes() -> None:
    contents = body(user("q"), assistant(ToolCall("f", "{}", "c1")), user("go on"))["contents"]
    assert contents[2]["parts"][0]["functionResponse"]["response"] == {"result": ""}
    contents = body(user("q"), assistant("t", ToolCall("f", "{}", "c1")))["contents"]
    assert contents[-1] == {"role": "model", "parts": [{"text": "t"}]}
    assert len(body(user("q"), assistant(ToolCall("f", "{}", "c1")))["contents"]) == 1


@pytest.mark.parametrize(
    ("result", "response"),
    [
        (ToolResult("c", content=[Text("plain")]), {"result": "plain"}),
        (ToolResult("c", content=[Text('{"a":1}')]), {"result": {"a": 1}}),
        (
            ToolResult("c", content=[Text('{"id":12345678901234567890123}')]),
            {"result": '{"id":12345678901234567890123}'},
        ),
        (ToolResult("c", content=[Text("42")]), {"result": "42"}),
        (ToolResult("c", content=[Text("a"), Text("b")]), {"result": "a\n\nb"}),
        (ToolResult("c", structured={"a": 1}), {"a": 1}),
        (ToolResult("c", structured=[1]), {"result": [1]}),
        (ToolResult("c", content=[Text("boom")], is_error=True), {"error": "boom"}),
        (ToolResult("c"), {"result": ""}),
    ],
)
def test_tool_results(result: ToolResult, response: Any) -> None:
    contents = body(user("q"), assistant(ToolCall("f", "{}", "c")), user(result))["contents"]
    assert contents[2]["parts"][0]["functionResponse"]["response"] == response


def test_images_of_a_result_stand_beside_it() -> None:
    image = Image(Source(data="AAAA", media_type="image/png"))
    contents = body(user("q"), assistant(ToolCall("f", "{}", "c")), user(ToolResult("c", content=[Text("see"), image])))
    assert contents["contents"][2]["parts"][1:] == [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]


@pytest.mark.parametrize(
    ("call", "args"),
    [
        (ToolCall("f", "[1]", "c"), {}),
        (ToolCall("f", "not json", "c"), {"INVALID_JSON": "not json"}),
        (ToolCall("f", "{'a': 1}", "c"), {"a": 1}),
        (ToolCall("f", "", "c"), {}),
        (ToolCall("f", "free text", "c", kind="custom"), {"input": "free text"}),
    ],
)
def test_arguments_are_an_object(call: ToolCall, args: Any) -> None:
    contents = body(user("q"), assistant(call), user(ToolResult("c")))["contents"]
    assert contents[1]["parts"][0]["functionCall"]["args"] == args


def test_signatures_of_its_own_stay_and_foreign_ones_go() -> None:
    contents = body(
        user("q"),
        assistant(
            Thinking("mine", signature=OWN),
            Thinking("claude's", signature=CLAUDE),
            ToolCall("f", "{}", "c", signature=OWN),
        ),
        user(ToolResult("c")),
        client="claude",
    )["contents"]
    assert contents[1]["parts"] == [
        {"text": "mine", "thought": True, "thoughtSignature": OWN},
        {"functionCall": {"name": "f", "args": {}, "id": "c"}, "thoughtSignature": OWN},
    ]


def test_unsigned_thoughts_are_replayed_for_chat_only() -> None:
    turns = (user("q"), assistant(Thinking("hm"), "a"), user("x"))
    assert body(*turns, client="openai")["contents"][1]["parts"][0] == {"text": "hm", "thought": True}
    assert body(*turns, client="claude")["contents"][1]["parts"] == [{"text": "a"}]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (Image(Source(data="AAAA")), {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}),
        (
            Image(Source(url="https://a/b.webp")),
            {"fileData": {"mimeType": "image/webp", "fileUri": "https://a/b.webp"}},
        ),
        (Audio(Source(data="SUQz"), format="mp3"), {"inlineData": {"mimeType": "audio/mpeg", "data": "SUQz"}}),
        (Document(Source(data="AAAA"), filename="a.csv"), {"inlineData": {"mimeType": "text/csv", "data": "AAAA"}}),
        (Document(Source(text="T")), {"text": "T"}),
        (Document(Source(content=[Text("in")])), {"text": "in"}),
        (Document(Source(file_id="files/x")), {"fileData": {"mimeType": "application/pdf", "fileUri": "files/x"}}),
        (Opaque("x", {"newPart": 1}, "gemini"), {"newPart": 1}),
    ],
)
def test_media(part: Part, expected: Any) -> None:
    assert body(user(part))["contents"][0]["parts"] == [expected]


def test_a_file_of_another_vendor_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        body(user(Document(Source(file_id="file-abc"))))


def test_foreign_opaque_parts_are_dropped() -> None:
    assert body(user("a", Opaque("x", {"type": "x"}, "claude")))["contents"][0]["parts"] == [{"text": "a"}]


def test_tools_are_cleaned_named_and_one_entry() -> None:
    encoded = encode(
        tools=[
            tool("mcp/server/read", {"$schema": "x", "type": "object", "properties": {"a": {"const": "X"}}}),
            tool("mcp.server.read", None, description="d"),
            tool("mcp@server@read"),
            tool("apply", kind="custom"),
            tool("run", namespace="mcp__srv"),
        ]
    )
    [entry] = encoded.body["tools"]
    declarations = entry["functionDeclarations"]
    names = [declaration["name"] for declaration in declarations]
    assert len(set(names)) == 5
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", name) for name in names)
    assert declarations[0]["parametersJsonSchema"]["properties"]["a"] == {"type": "string", "enum": ["X"]}
    assert declarations[1]["parametersJsonSchema"] == {"type": "object", "properties": {}}
    assert declarations[3]["parametersJsonSchema"]["required"] == ["input"]
    assert [encoded.names.identity(name).name for name in names] == [
        "mcp/server/read",
        "mcp.server.read",
        "mcp@server@read",
        "apply",
        "run",
    ]
    assert encoded.names.identity(names[3]).wrapped
    assert encoded.names.identity(names[4]).namespace == "mcp__srv"


def test_history_and_choice_use_the_same_names() -> None:
    encoded = body(
        user("q"),
        assistant(ToolCall("a/b", "{}", "c")),
        user(ToolResult("c")),
        tools=[tool("a/b")],
        tool_choice=ToolChoice("named", ["a/b"]),
    )
    assert encoded["contents"][1]["parts"][0]["functionCall"]["name"] == "a_b"
    assert encoded["contents"][2]["parts"][0]["functionResponse"]["name"] == "a_b"
    assert encoded["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a_b"]}}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("allowed", ["f"], required=True), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice("allowed", ["f"]), {"mode": "VALIDATED", "allowedFunctionNames": ["f"]}),
        (ToolChoice("named", ["unknown"]), None),
    ],
)
def test_tool_choice(choice: ToolChoice, config: Any) -> None:
    encoded = body(tools=[tool("f")], tool_choice=choice)
    assert encoded.get("toolConfig") == ({"functionCallingConfig": config} if config else None)
    assert "toolConfig" not in body(tools=[], tool_choice=choice)


def test_googles_own_tools() -> None:
    web = tool("web_search", kind="builtin")
    google = tool("google_search", kind="builtin")
    assert body(tools=[web])["tools"] == [{"googleSearch": {}}]
    assert "tools" not in body(tools=[tool("computer", kind="builtin")])
    assert [list(entry) for entry in body(tools=[tool("f"), web])["tools"]] == [["functionDeclarations"]]
    assert [list(entry) for entry in body(tools=[tool("f"), google])["tools"]] == [
        ["functionDeclarations"],
        ["googleSearch"],
    ]


def test_generation_config() -> None:
    sampling = Sampling(
        temperature=0.5, top_p=0.9, top_k=4, seed=7, presence_penalty=1, n=2, stop=["a", ""], max_output_tokens=5
    )
    schema = {"$schema": "x", "type": "object"}
    config = body(sampling=sampling, output_format=OutputFormat("json_schema", schema=schema))["generationConfig"]
    assert config == {
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 4,
        "candidateCount": 2,
        "maxOutputTokens": 5,
        "stopSequences": ["a"],
        "seed": 7,
        "presencePenalty": 1,
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }
    assert "generationConfig" not in body(sampling=Sampling(n=1))
    aistudio = body(sampling=sampling, output_format=OutputFormat("json_object"), quirks=("aistudio",))
    assert not {"maxOutputTokens", "responseMimeType"} & aistudio["generationConfig"].keys()


def test_modalities_and_images() -> None:
    config = body(modalities=["text", "image"], image_config={"aspect_ratio": "1:1", "size": "1K"})["generationConfig"]
    assert config == {"responseModalities": ["TEXT", "IMAGE"], "imageConfig": {"aspectRatio": "1:1", "imageSize": "1K"}}


def test_safety_defaults_only_when_the_client_said_nothing() -> None:
    settings = body()["safetySettings"]
    assert len(settings) == 5
    assert settings[0] == {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}
    assert body(safety_settings=[])["safetySettings"] == []


@pytest.mark.parametrize(
    ("reasoning", "config"),
    [
        (ResolvedReasoning("level", level="high"), {"includeThoughts": True, "thinkingLevel": "high"}),
        (ResolvedReasoning("budget", budget=8192), {"includeThoughts": True, "thinkingBudget": 8192}),
        (
            ResolvedReasoning("budget", budget=8, include_thoughts=False),
            {"includeThoughts": False, "thinkingBudget": 8},
        ),
        (ResolvedReasoning("auto"), {"includeThoughts": True, "thinkingBudget": -1}),
        (ResolvedReasoning("off"), {"includeThoughts": False, "thinkingBudget": 0}),
        (ResolvedReasoning("off", budget=128), {"includeThoughts": False, "thinkingBudget": 128}),
        (ResolvedReasoning("off", level="low"), {"includeThoughts": False, "thinkingLevel": "low"}),
        (ResolvedReasoning("strip"), None),
        (KEEP, None),
    ],
)
def test_reasoning(reasoning: ResolvedReasoning, config: Any) -> None:
    conversation = Conversation("openai", "m", [user("hi")])
    encoded = CODEC.encode_request(conversation, Target("m", "gemini"), reasoning).body
    assert encoded.get("generationConfig", {}).get("thinkingConfig") == config


def test_a_wish_for_summaries_shows_thoughts_of_models_that_have_them() -> None:
    conversation = Conversation("openai-response", "m", [user("hi")], reasoning=Reasoning(summary="auto"))
    thinker = Target("m", "gemini", limits=ModelLimits(known=True, thinking=ThinkingSupport(128, 32768)))
    encoded = CODEC.encode_request(conversation, thinker, KEEP).body
    assert encoded["generationConfig"] == {"thinkingConfig": {"includeThoughts": True}}
    assert "generationConfig" not in CODEC.encode_request(conversation, Target("m", "gemini"), KEEP).body


def test_write_reasoning_clears_the_other_spelling() -> None:
    old = {"generation_config": {"thinking_config": {"thinking_budget": 5, "include_thoughts": False}, "topK": 1}}
    new = CODEC.write_reasoning(old, ResolvedReasoning("level", level="low"), Target("m", "gemini"))
    thinking = {"includeThoughts": False, "thinkingLevel": "low"}
    assert new == {"generation_config": {"topK": 1, "thinkingConfig": thinking}}
    assert old["generation_config"]["thinking_config"]["thinking_budget"] == 5


def test_cli_envelope() -> None:
    conversation = Conversation("claude", "m", [user("hi")], system=[SystemItem([Text("S")])])
    encoded = GeminiCliCodec().encode_request(conversation, Target("gemini-x", "gemini-cli"), KEEP).body
    assert encoded["model"] == "gemini-x"
    assert encoded["request"]["systemInstruction"] == {"parts": [{"text": "S"}]}
    counted = GeminiCliCodec().encode_count_request(conversation, Target("gemini-x", "gemini-cli"))
    assert set(counted) == {"request"}
    assert "safetySettings" not in counted["request"]


def test_count_request() -> None:
    conversation = Conversation("claude", "m", [user("hi")], tools=[tool("f")])
    counted = CODEC.encode_count_request(conversation, Target("gemini-x", "gemini"))
    inner = counted["generateContentRequest"]
    assert inner["model"] == "models/gemini-x"
    assert inner["tools"]
    assert "safetySettings" not in inner
    vertex = CODEC.encode_count_request(conversation, Target("g", "gemini", quirks=frozenset({"vertex"})))
    assert set(vertex) == {"contents", "tools"}


def test_googles_types_accept_the_body() -> None:
    encoded = body(
        user("q", Image(Source(data="AAAA", media_type="image/png"))),
        assistant("t", ToolCall("f", '{"a":1}', "c")),
        user(ToolResult("c", content=[Text("r")])),
        tools=[tool("f", {"type": "object", "properties": {"a": {"type": "integer"}}})],
        tool_choice=ToolChoice("required"),
        system=[SystemItem([Text("S")])],
        sampling=Sampling(temperature=1, max_output_tokens=5),
    )
    for content in encoded["contents"]:
        types.Content.model_validate(content)
    types.Content.model_validate(encoded["systemInstruction"])
    types.Tool.model_validate(encoded["tools"][0])
    types.ToolConfig.model_validate(encoded["toolConfig"])
    types.GenerationConfig.model_validate(encoded["generationConfig"])


def test_decoding_what_was_encoded_gives_the_dialogue_back() -> None:
    turns = [
        user("q", Image(Source(data="AAAA", media_type="image/png"))),
        assistant("t", ToolCall("f", '{"a":1}', "c1"), ToolCall("g", "{}", "c2")),
        user(ToolResult("c1", name="f", content=[Text("one")]), ToolResult("c2", name="g", content=[Text("two")])),
        user("next"),
    ]
    encoded = body(*turns, system=[SystemItem([Text("S")])])
    again = CODEC.decode_request(encoded, model="m", stream=False)
    calls = [part for part in again.turns[1].parts if isinstance(part, ToolCall)]
    assert [call.signature for call in calls] == [SENTINEL, None]
    assert again.system == [SystemItem([Text("S")])]
    assert CODEC.encode_request(again, Target("m", "gemini"), KEEP).body == encoded
    calls[0].signature = None
    assert again.turns == turns


_ids = st.sampled_from(["c1", "c2", "c3", None])
_names = st.sampled_from(["f", "a/b", "1st", "x" * 80, "mcp__srv__tool"])
_assistant_parts = st.one_of(
    st.builds(Text, st.sampled_from(["", "t"]), signature=st.sampled_from([None, OWN, CLAUDE])),
    st.builds(Thinking, st.sampled_from(["", "hm"]), st.sampled_from([None, OWN, CLAUDE, "?"])),
    st.builds(
        ToolCall,
        _names,
        st.sampled_from(["{}", "[1]", "broken", ""]),
        _ids,
        st.sampled_from(["function", "custom"]),
        namespace=st.sampled_from([None, "mcp__srv"]),
        signature=st.sampled_from([None, OWN, CLAUDE]),
    ),
)
_user_parts = st.one_of(
    st.builds(Text, st.sampled_from(["", "u"])),
    st.builds(ToolResult, _ids, _names, st.lists(st.builds(Text, st.sampled_from(["", "r", "{}"])), max_size=2)),
    st.just(Image(Source(data="AAAA"))),
)
_turns = st.lists(
    st.one_of(
        st.builds(Turn, st.just("user"), st.lists(_user_parts, max_size=3)),
        st.builds(Turn, st.just("assistant"), st.lists(_assistant_parts, max_size=3)),
    ),
    max_size=6,
)


@settings(max_examples=100, deadline=None)
@given(_turns, st.sampled_from(["openai", "claude", "openai-response"]))
def test_any_dialogue_becomes_one_gemini_accepts(turns: list[Turn], client: str) -> None:
    conversation = Conversation(client, "m", turns)
    before = repr(conversation)
    encoded = CODEC.encode_request(conversation, Target("m", "gemini", operation="count"), KEEP)
    assert repr(conversation) == before
    contents = encoded.body["contents"]
    assert not contents or contents[0]["role"] == "user"
    for content, following in zip(contents, [*contents, None][1:], strict=True):
        assert content["role"] in ("user", "model")
        assert content["parts"]
        for part in content["parts"]:
            assert len(set(part) - {"thought", "thoughtSignature"}) == 1
        calls = [part["functionCall"] for part in content["parts"] if "functionCall" in part]
        signed = ["thoughtSignature" in part for part in content["parts"] if "functionCall" in part]
        if not calls:
            continue
        assert signed[0]
        assert following is not None
        answers = [part["functionResponse"] for part in following["parts"] if "functionResponse" in part]
        assert [(call["name"], call["id"]) for call in calls] == [(one["name"], one["id"]) for one in answers]
        for call, answer in zip(calls, answers, strict=True):
            assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}", call["name"])
            assert isinstance(call["args"], dict)
            assert isinstance(answer["response"], dict)
    assert CLAUDE.encode() not in orjson.dumps(encoded.body)
