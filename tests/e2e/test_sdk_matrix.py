"""The official SDKs as clients, over upstreams of all four formats."""

from __future__ import annotations

import base64
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types
from pydantic import BaseModel
from running import KEY, RunningDaemon

UPSTREAMS = ("oc", "claude", "gemini", "codex")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
ECHO = "You said: hello — über ☃"
TOTAL = 29

every_upstream = pytest.mark.parametrize("model", UPSTREAMS)


class City(BaseModel):
    """Structured output."""

    city: str
    population: int


@pytest.fixture
def chat(daemon: RunningDaemon) -> openai.OpenAI:
    return openai.OpenAI(base_url=daemon.url + "/v1", api_key=KEY, max_retries=0)


@pytest.fixture
def claude(daemon: RunningDaemon) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=daemon.url, api_key=KEY, max_retries=0)


@pytest.fixture
def gemini(daemon: RunningDaemon) -> genai.Client:
    return genai.Client(api_key=KEY, http_options=genai_types.HttpOptions(base_url=daemon.url))


# -- OpenAI Chat Completions ------------------------------------------------------------------------------------


def chat_stream(client: openai.OpenAI, **request: Any) -> Any:
    with client.chat.completions.stream(stream_options={"include_usage": True}, **request) as stream:
        for _ in stream:
            pass
        return stream.get_final_completion()


CHAT_TOOL: Any = {"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": SCHEMA}}


@every_upstream
def test_chat_text_streamed_and_whole_agree(chat: openai.OpenAI, model: str) -> None:
    request: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    whole = chat.chat.completions.create(**request)
    streamed = chat_stream(chat, **request)
    assert whole.choices[0].message.content == ECHO
    assert streamed.choices[0].message.content == ECHO
    assert whole.choices[0].finish_reason == streamed.choices[0].finish_reason == "stop"
    assert whole.usage is not None
    assert streamed.usage is not None
    assert whole.usage.total_tokens == streamed.usage.total_tokens == TOTAL


@every_upstream
def test_chat_tool_round_trip(chat: openai.OpenAI, model: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    request: dict[str, Any] = {"model": model, "tools": [CHAT_TOOL]}
    whole = chat.chat.completions.create(messages=messages, **request)
    streamed = chat_stream(chat, messages=messages, **request)
    for answer in (whole, streamed):
        call = answer.choices[0].message.tool_calls[0]
        assert call.function.name == "get_weather"
        assert '"Paris"' in call.function.arguments
        assert answer.choices[0].finish_reason == "tool_calls"
    message = whole.choices[0].message
    messages += [
        message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"},
    ]
    final = chat.chat.completions.create(messages=messages, **request)
    assert final.choices[0].message.content == "The tool said: sunny"


@every_upstream
def test_chat_image_reasoning_and_structure(chat: openai.OpenAI, model: str) -> None:
    image: Any = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PNG_URL}}]
    seen = chat.chat.completions.create(model=model, messages=[{"role": "user", "content": image}])
    assert seen.choices[0].message.content == "I see image/png"
    thought = chat.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "think"}], reasoning_effort="low"
    )
    assert thought.choices[0].message.reasoning_content == "Let me think."
    parsed = chat.chat.completions.parse(
        model=model, messages=[{"role": "user", "content": "city"}], response_format=City
    )
    assert parsed.choices[0].message.parsed == City(city="Paris", population=2100000)


@every_upstream
def test_chat_errors(chat: openai.OpenAI, model: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="says boom"):
            chat.chat.completions.create(model=model, messages=[{"role": "user", "content": "boom"}], stream=stream)


# -- OpenAI Responses -------------------------------------------------------------------------------------------

RESPONSES_TOOL: Any = {"type": "function", "name": "get_weather", "description": "d", "parameters": SCHEMA}


def responses_stream(client: openai.OpenAI, **request: Any) -> Any:
    with client.responses.stream(**request) as stream:
        for _ in stream:
            pass
        return stream.get_final_response()


@every_upstream
def test_responses_text_streamed_and_whole_agree(chat: openai.OpenAI, model: str) -> None:
    whole = chat.responses.create(model=model, input="hello", store=False)
    streamed = responses_stream(chat, model=model, input="hello", store=False)
    assert whole.output_text == streamed.output_text == ECHO
    assert whole.status == streamed.status == "completed"
    assert whole.usage.total_tokens == streamed.usage.total_tokens == TOTAL


@every_upstream
def test_responses_tool_round_trip(chat: openai.OpenAI, model: str) -> None:
    request: dict[str, Any] = {"model": model, "tools": [RESPONSES_TOOL], "store": False}
    whole = chat.responses.create(input="weather?", **request)
    streamed = responses_stream(chat, input="weather?", **request)
    for answer in (whole, streamed):
        calls = [item for item in answer.output if item.type == "function_call"]
        assert [call.name for call in calls] == ["get_weather"]
        assert '"Paris"' in calls[0].arguments
    history: list[Any] = [{"role": "user", "content": "weather?"}]
    history += [item.model_dump(exclude_none=True) for item in whole.output]
    call = next(item for item in whole.output if item.type == "function_call")
    history.append({"type": "function_call_output", "call_id": call.call_id, "output": "sunny"})
    assert chat.responses.create(input=history, **request).output_text == "The tool said: sunny"


@every_upstream
def test_responses_image_reasoning_and_structure(chat: openai.OpenAI, model: str) -> None:
    content: Any = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": PNG_URL, "detail": "auto"},
    ]
    seen = chat.responses.create(model=model, input=[{"role": "user", "content": content}], store=False)
    assert seen.output_text == "I see image/png"
    thought = responses_stream(
        chat, model=model, input="think", reasoning={"effort": "low", "summary": "auto"}, store=False
    )
    reasoning = [item for item in thought.output if item.type == "reasoning"]
    assert reasoning[0].summary[0].text == "Let me think."
    parsed = chat.responses.parse(model=model, input="city", text_format=City, store=False)
    assert parsed.output_parsed == City(city="Paris", population=2100000)


@every_upstream
def test_responses_errors(chat: openai.OpenAI, model: str) -> None:
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError, match="says boom"):
            chat.responses.create(model=model, input="boom", stream=stream, store=False)


# -- Anthropic Messages -----------------------------------------------------------------------------------------

CLAUDE_TOOL: Any = {"name": "get_weather", "description": "d", "input_schema": SCHEMA}


def claude_stream(client: anthropic.Anthropic, **request: Any) -> Any:
    with client.messages.stream(**request) as stream:
        for _ in stream:
            pass
        return stream.get_final_message()


def texts(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


@every_upstream
def test_messages_text_streamed_and_whole_agree(claude: anthropic.Anthropic, model: str) -> None:
    request: dict[str, Any] = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hello"}]}
    whole, streamed = claude.messages.create(**request), claude_stream(claude, **request)
    assert texts(whole) == texts(streamed) == ECHO
    assert whole.stop_reason == streamed.stop_reason == "end_turn"
    for message in (whole, streamed):
        assert message.usage.input_tokens + message.usage.output_tokens == TOTAL


@every_upstream
def test_messages_tool_round_trip(claude: anthropic.Anthropic, model: str) -> None:
    request: dict[str, Any] = {"model": model, "max_tokens": 100, "tools": [CLAUDE_TOOL]}
    messages: list[Any] = [{"role": "user", "content": "weather?"}]
    whole = claude.messages.create(messages=messages, **request)
    streamed = claude_stream(claude, messages=messages, **request)
    for message in (whole, streamed):
        use = next(block for block in message.content if block.type == "tool_use")
        assert (use.name, use.input) == ("get_weather", {"city": "Paris", "days": 3})
        assert message.stop_reason == "tool_use"
    use = next(block for block in whole.content if block.type == "tool_use")
    messages += [
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in whole.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}]},
    ]
    assert texts(claude.messages.create(messages=messages, **request)) == "The tool said: sunny"


@every_upstream
def test_messages_image_reasoning_and_counting(claude: anthropic.Anthropic, model: str) -> None:
    source: Any = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
    content: Any = [{"type": "text", "text": "look"}, {"type": "image", "source": source}]
    seen = claude.messages.create(model=model, max_tokens=100, messages=[{"role": "user", "content": content}])
    assert texts(seen) == "I see image/png"
    thought = claude_stream(
        claude,
        model=model,
        max_tokens=3000,
        thinking={"type": "enabled", "budget_tokens": 1024},
        messages=[{"role": "user", "content": "think"}],
    )
    assert thought.content[0].type == "thinking"
    assert thought.content[0].thinking == "Let me think."
    counted = claude.messages.count_tokens(model=model, messages=[{"role": "user", "content": "hello"}])
    assert counted.input_tokens > 0


@every_upstream
def test_messages_errors(claude: anthropic.Anthropic, model: str) -> None:
    for stream in (False, True):
        with pytest.raises(anthropic.BadRequestError, match="says boom"):
            claude.messages.create(
                model=model, max_tokens=10, messages=[{"role": "user", "content": "boom"}], stream=stream
            )


# -- Google GenAI -----------------------------------------------------------------------------------------------


def gemini_tool() -> Any:
    declaration = genai_types.FunctionDeclaration(name="get_weather", description="d", parameters_json_schema=SCHEMA)
    return genai_types.GenerateContentConfig(
        tools=[genai_types.Tool(function_declarations=[declaration])],
        automatic_function_calling=genai_types.AutomaticFunctionCallingConfig(disable=True),
    )


@every_upstream
def test_gemini_text_streamed_and_whole_agree(gemini: genai.Client, model: str) -> None:
    whole = gemini.models.generate_content(model=model, contents="hello")
    chunks = list(gemini.models.generate_content_stream(model=model, contents="hello"))
    assert whole.text == "".join(chunk.text or "" for chunk in chunks) == ECHO
    assert whole.usage_metadata.total_token_count == TOTAL
    assert chunks[-1].usage_metadata.total_token_count == TOTAL
    assert chunks[-1].candidates[0].finish_reason == "STOP"


@every_upstream
def test_gemini_tool_round_trip(gemini: genai.Client, model: str) -> None:
    whole = gemini.models.generate_content(model=model, contents="weather?", config=gemini_tool())
    chunks = list(gemini.models.generate_content_stream(model=model, contents="weather?", config=gemini_tool()))
    streamed = [call for chunk in chunks for call in chunk.function_calls or []]
    for calls in (whole.function_calls, streamed):
        assert [(call.name, call.args) for call in calls] == [("get_weather", {"city": "Paris", "days": 3})]
    call = whole.function_calls[0]
    answer = genai_types.FunctionResponse(id=call.id, name=call.name, response={"result": "sunny"})
    history = [
        genai_types.Content(role="user", parts=[genai_types.Part(text="weather?")]),
        whole.candidates[0].content,
        genai_types.Content(role="user", parts=[genai_types.Part(function_response=answer)]),
    ]
    final = gemini.models.generate_content(model=model, contents=history, config=gemini_tool())
    assert final.text == "The tool said: sunny"


@every_upstream
def test_gemini_image_reasoning_and_structure(gemini: genai.Client, model: str) -> None:
    picture = genai_types.Part.from_bytes(data=PNG, mime_type="image/png")
    assert gemini.models.generate_content(model=model, contents=["look", picture]).text == "I see image/png"
    thinking = genai_types.GenerateContentConfig(
        thinking_config=genai_types.ThinkingConfig(include_thoughts=True, thinking_budget=1024)
    )
    thought = gemini.models.generate_content(model=model, contents="think", config=thinking)
    parts = thought.candidates[0].content.parts
    assert [part.text for part in parts if part.thought] == ["Let me think."]
    structure = genai_types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    parsed = gemini.models.generate_content(model=model, contents="city", config=structure)
    assert parsed.parsed == City(city="Paris", population=2100000)
    assert gemini.models.count_tokens(model=model, contents="hello").total_tokens > 0


@every_upstream
def test_gemini_errors(gemini: genai.Client, model: str) -> None:
    with pytest.raises(genai_errors.ClientError, match="says boom"):
        gemini.models.generate_content(model=model, contents="boom")
    with pytest.raises(genai_errors.ClientError, match="says boom"):
        list(gemini.models.generate_content_stream(model=model, contents="boom"))
